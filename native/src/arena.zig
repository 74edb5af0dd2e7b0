//! Bytes that are written one after the other and kept as long as the rows that point into them; and the large blocks
//! of memory that one event leaves to the next.
const std = @import("std");
const Fault = @import("scanner.zig").Fault;
const Allocator = std.mem.Allocator;

/// Memory of which nothing is read that was not written: not filled beforehand, as an allocator's own would be.
pub const Raw = struct {
    bytes: []align(alignment) u8 = &.{},

    pub const alignment = 64;
    const step = 64 * 1024;

    pub fn create(gpa: Allocator, size: usize) Fault!Raw {
        const length = std.mem.alignForward(usize, size, step);
        const memory = gpa.rawAlloc(length, .fromByteUnits(alignment), @returnAddress()) orelse return error.OutOfMemory;
        return .{ .bytes = @alignCast(memory[0..length]) };
    }

    /// Makes it larger, and keeps what the first `used` bytes hold.
    pub fn grow(raw: *Raw, gpa: Allocator, used: usize, size: usize) Fault!void {
        const length = std.mem.alignForward(usize, size, step);
        if (raw.bytes.len > 0) {
            if (gpa.rawRemap(raw.bytes, .fromByteUnits(alignment), length, @returnAddress())) |memory| {
                raw.bytes = @alignCast(memory[0..length]);
                return;
            }
        }
        const larger = try create(gpa, size);
        @memcpy(larger.bytes[0..used], raw.bytes[0..used]);
        raw.destroy(gpa);
        raw.* = larger;
    }

    pub fn destroy(raw: *Raw, gpa: Allocator) void {
        if (raw.bytes.len > 0) gpa.rawFree(raw.bytes, .fromByteUnits(alignment), @returnAddress());
        raw.* = .{};
    }
};

/// Keeps freed blocks for the next event: mapping new memory and filling it with zeros would cost as much time as reading the event.
pub const Spare = struct {
    blocks: [2]Raw = .{ .{}, .{} },

    const max_kept_bytes = 16 * 1024 * 1024;

    /// Gives a block of at least `size` bytes; a kept one where one is large enough.
    pub fn take(spare: *Spare, gpa: Allocator, size: usize) Fault!Raw {
        for (&spare.blocks) |*block| {
            if (block.bytes.len >= size and block.bytes.len > 0) {
                defer block.* = .{};
                return block.*;
            }
        }
        return Raw.create(gpa, size);
    }

    /// Keeps a block if it is larger than one of those kept.
    pub fn give(spare: *Spare, gpa: Allocator, raw: *Raw) void {
        if (raw.bytes.len <= max_kept_bytes) {
            for (&spare.blocks) |*block| if (block.bytes.len < raw.bytes.len) std.mem.swap(Raw, block, raw);
        }
        raw.destroy(gpa);
    }

    pub fn empty(spare: *Spare, gpa: Allocator) void {
        for (&spare.blocks) |*block| block.destroy(gpa);
    }
};

/// Bytes that are written one after the other.
pub const Arena = struct {
    gpa: Allocator,
    raw: Raw = .{},
    used: usize = 0,

    /// Arrow's views have offsets of 31 bits.
    const max_bytes = std.math.maxInt(i32);

    pub inline fn reserve(a: *Arena, more: usize) Fault!void {
        if (a.raw.bytes.len - a.used < more) try a.grow(more);
    }

    fn grow(a: *Arena, more: usize) Fault!void {
        const size = @max(a.raw.bytes.len * 2, a.used + more);
        if (size > max_bytes) return error.OutOfMemory;
        try a.raw.grow(a.gpa, a.used, size);
    }

    pub inline fn write(a: *Arena, bytes: []const u8) Fault!void {
        try a.reserve(bytes.len);
        @memcpy(a.raw.bytes[a.used..][0..bytes.len], bytes);
        a.used += bytes.len;
    }

    pub inline fn writeByte(a: *Arena, c: u8) Fault!void {
        try a.reserve(1);
        a.raw.bytes[a.used] = c;
        a.used += 1;
    }

    /// What has been written since `mark`.
    pub inline fn since(a: *const Arena, mark: usize) []u8 {
        return a.raw.bytes[mark..a.used];
    }

    pub inline fn written(a: *const Arena) []u8 {
        return a.raw.bytes[0..a.used];
    }
};
