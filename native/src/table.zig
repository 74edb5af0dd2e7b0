//! The rows' columns, as Arrow's string views (Arrow, "Variable-size Binary View Layout"): 16 bytes a value, with a short text in them, or
//! the place of a long one: in the event itself, or in the arena.
const std = @import("std");
const builtin = @import("builtin");
const arenas = @import("arena.zig");
const Raw = arenas.Raw;
const Spare = arenas.Spare;
const Fault = @import("scanner.zig").Fault;
const Allocator = std.mem.Allocator;

comptime {
    if (builtin.cpu.arch.endian() != .little) @compileError("views are written as little-endian words");
}

pub const View = packed struct(u128) {
    length: u32,
    prefix: u32 = 0,
    buffer: u32 = 0,
    offset: u32 = 0,
};

/// Bytes that a view holds itself.
pub const max_inline = 12;

/// Where long texts are.
pub const in_event = 0;
pub const in_arena = 1;

/// The view of `length` bytes from `start` on.
pub inline fn viewOf(bytes: []const u8, start: usize, length: usize, buffer: u32) View {
    const size: u32 = @intCast(length);
    if (length > max_inline) {
        const prefix: u32 = @bitCast(bytes[start..][0..4].*);
        return .{ .length = size, .prefix = prefix, .buffer = buffer, .offset = @intCast(start) };
    }
    var word: u128 = 0;
    if (start + 16 <= bytes.len) {
        word = @bitCast(bytes[start..][0..16].*);
        word &= (@as(u128, 1) << @intCast(length * 8)) - 1;
    } else {
        var few: [16]u8 = @splat(0);
        @memcpy(few[0..length], bytes[start..][0..length]);
        word = @bitCast(few);
    }
    return @bitCast((word << 32) | size);
}

/// The view of a short text that is known beforehand.
pub inline fn literal(comptime text: []const u8) View {
    comptime {
        var few: [16]u8 = @splat(0);
        @memcpy(few[4 .. 4 + text.len], text);
        few[0] = text.len;
        return @bitCast(few);
    }
}

pub const Table = struct {
    gpa: Allocator,
    columns: usize,
    raw: Raw = .{},
    views: []View = &.{},
    /// A bit a value, by the column; Arrow's validity.
    valid: []u8 = &.{},
    capacity: usize = 0,
    /// The row at hand.
    row: usize = 0,

    /// The number of rows is a multiple of this, so that each column's bits fill whole words of 64 bytes.
    const step = 512;

    /// Makes room for `rows` rows or a few more.
    pub fn grow(t: *Table, spare: *Spare, rows: usize) Fault!void {
        const capacity = std.mem.alignForward(usize, @max(rows, 1), step);
        var raw = try spare.take(t.gpa, t.columns * (capacity * @sizeOf(View) + capacity / 8));
        const views = @as([*]View, @ptrCast(raw.bytes.ptr))[0 .. t.columns * capacity];
        const valid = raw.bytes[t.columns * capacity * @sizeOf(View) ..][0 .. t.columns * capacity / 8];
        @memset(valid, 0xff);
        for (0..t.columns) |column| {
            @memcpy(views[column * capacity ..][0..t.row], t.views[column * t.capacity ..][0..t.row]);
            const bits = t.capacity / 8;
            @memcpy(valid[column * (capacity / 8) ..][0..bits], t.valid[column * bits ..][0..bits]);
        }
        if (builtin.mode == .debug) @memset(@as([]u8, @ptrCast(views[t.columns * t.row ..])), 0xaa);
        std.mem.swap(Raw, &raw, &t.raw);
        raw.destroy(t.gpa);
        t.views = views;
        t.valid = valid;
        t.capacity = capacity;
    }

    pub inline fn put(t: *Table, column: usize, view: View) void {
        t.views[column * t.capacity + t.row] = view;
    }

    pub fn putNull(t: *Table, column: usize) void {
        t.put(column, @bitCast(@as(u128, 0)));
        t.valid[column * (t.capacity / 8) + t.row / 8] &= ~(@as(u8, 1) << @intCast(t.row % 8));
    }

    /// Takes back what a row has been given that is given up.
    pub fn clearRow(t: *Table) void {
        for (0..t.columns) |column| {
            t.valid[column * (t.capacity / 8) + t.row / 8] |= @as(u8, 1) << @intCast(t.row % 8);
        }
    }

    pub fn isNull(t: *const Table, column: usize, row: usize) bool {
        return t.valid[column * (t.capacity / 8) + row / 8] >> @intCast(row % 8) & 1 == 0;
    }

    pub fn columnViews(t: *const Table, column: usize) []const View {
        return t.views[column * t.capacity ..][0..t.row];
    }

    pub fn columnBits(t: *const Table, column: usize) []const u8 {
        return t.valid[column * (t.capacity / 8) ..][0 .. (t.row + 7) / 8];
    }

    /// Counts the values of a column that are there.
    pub fn countValid(t: *const Table, column: usize) usize {
        var valid: usize = 0;
        for (t.columnBits(column), 0..) |byte, at| {
            const last = at == t.row / 8;
            valid += @popCount(if (last) byte & ((@as(u8, 1) << @intCast(t.row % 8)) - 1) else byte);
        }
        return valid;
    }
};
