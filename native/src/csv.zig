//! Any frame of text columns as the CSV that COPY reads, a buffer at a time: from Arrow's arrays of string views, by the Arrow C
//! stream interface. A field is quoted where it holds the delimiter, a quote, CR or LF, or is empty; NULL is the marker, never quoted.
const std = @import("std");
const arrow = @import("arrow.zig");
const tables = @import("table.zig");
const Allocator = std.mem.Allocator;

pub const Stream = extern struct {
    get_schema: *const fn (*Stream, *arrow.Schema) callconv(.c) c_int,
    get_next: *const fn (*Stream, *arrow.Array) callconv(.c) c_int,
    get_last_error: ?*const anyopaque,
    release: ?*const fn (*Stream) callconv(.c) void,
    private_data: ?*anyopaque,
};

comptime {
    if (@sizeOf(Stream) != 40) @compileError("not as the Arrow C stream interface lays it out");
}

/// The stream failed, or gives something else than columns of text; or there is no memory.
pub const Failure = error{ Unreadable, OutOfMemory };

const chunk = 16;
const Chunk = @Vector(chunk, u8);
const Half = @Vector(8, u8);

/// Behind a field: the rest of a chunk that was written over its end, a delimiter, a line feed.
const margin = chunk + 2;

/// A column of the array at hand.
const Column = struct {
    /// A bit a value; none where nothing is NULL.
    valid: ?[*]const u8,
    views: [*]align(1) const tables.View,
    /// Of the array's first row in both.
    offset: usize,
    buffers: []const ?*const anyopaque,
    sizes: [*]align(1) const i64,

    fn isNull(column: *const Column, row: usize) bool {
        const bits = column.valid orelse return false;
        const at = column.offset + row;
        return bits[at / 8] >> @intCast(at % 8) & 1 == 0;
    }

    inline fn view(column: *const Column, row: usize) tables.View {
        return column.views[column.offset + row];
    }

    /// The text of a view that does not hold it itself.
    inline fn text(column: *const Column, long: tables.View) Failure![]const u8 {
        if (long.buffer >= column.buffers.len) return error.Unreadable;
        const start: usize = long.offset;
        if (start + long.length > @as(u64, @intCast(column.sizes[long.buffer]))) return error.Unreadable;
        const bytes: [*]const u8 = @ptrCast(column.buffers[long.buffer] orelse return error.Unreadable);
        return bytes[start..][0..long.length];
    }
};

pub const Writer = struct {
    gpa: Allocator,
    /// The caller's, who releases it.
    stream: *Stream,
    delimiter: u8,
    null_marker: []const u8,
    /// The marker, or how it begins, and zeros.
    null_chunk: [chunk]u8 = @splat(0),
    columns: []Column,
    array: arrow.Array,
    row: usize = 0,
    rows: usize = 0,

    /// Begins to read a stream.
    pub fn create(gpa: Allocator, stream: *Stream, delimiter: u8, null_marker: []const u8) Failure!*Writer {
        const count = try countColumns(stream);
        const writer = try gpa.create(Writer);
        errdefer gpa.destroy(writer);
        const marker = try gpa.dupe(u8, null_marker);
        errdefer gpa.free(marker);
        writer.* = .{
            .gpa = gpa,
            .stream = stream,
            .delimiter = delimiter,
            .null_marker = marker,
            .columns = try gpa.alloc(Column, count),
            .array = nothing,
        };
        const beginning = marker[0..@min(marker.len, chunk)];
        @memcpy(writer.null_chunk[0..beginning.len], beginning);
        return writer;
    }

    pub fn destroy(w: *Writer) void {
        w.letGo();
        w.gpa.free(w.columns);
        w.gpa.free(w.null_marker);
        w.gpa.destroy(w);
    }

    const nothing = std.mem.zeroInit(arrow.Array, .{ .length = 0, .null_count = 0, .n_buffers = 0, .buffers = null, .release = null, .private_data = null });

    fn letGo(w: *Writer) void {
        if (w.array.release) |release| release(&w.array);
        w.array = nothing;
    }

    /// Writes as many whole rows as there is room for; 0 bytes where no row is left, or where not even one has room.
    pub fn write(w: *Writer, out: []u8) Failure!usize {
        var used: usize = 0;
        while (true) {
            while (w.row < w.rows) : (w.row += 1) used = try w.writeRow(out, used) orelse return used;
            if (!try w.readNext()) return used;
        }
    }

    /// Tells how much room the next row takes at worst; 0 where no row is left.
    pub fn room(w: *const Writer) u64 {
        if (w.row == w.rows) return 0;
        var bytes: u64 = margin;
        for (w.columns) |*column| bytes += worst(@max(column.view(w.row).length, w.null_marker.len));
        return bytes;
    }

    /// Tells how long the longest of all rows is at worst, instead of writing them.
    pub fn longest(w: *Writer) Failure!u64 {
        var most: u64 = 0;
        while (try w.readNext()) {
            for (0..w.rows) |row| {
                var bytes: u64 = 0;
                for (w.columns) |*column| bytes += worst(@max(column.view(row).length, w.null_marker.len));
                most = @max(most, bytes);
            }
        }
        return most;
    }

    /// Every byte may be a quote, which is doubled, and the whole is quoted.
    inline fn worst(length: u64) u64 {
        return 2 * length + 3;
    }

    /// Gives where the row ends in the buffer; null where it has no room.
    inline fn writeRow(w: *const Writer, out: []u8, start: usize) Failure!?usize {
        var at = start;
        for (w.columns) |*column| {
            if (column.isNull(w.row)) {
                if (out.len - at < w.null_marker.len + margin) return null;
                at = w.writeNull(out, at);
            } else {
                const view = column.view(w.row);
                if (out.len - at < worst(view.length) + margin) return null;
                at = if (view.length <= tables.max_inline) w.writeShort(out, at, view) else w.writeLong(out, at, try column.text(view));
            }
            out[at] = w.delimiter;
            at += 1;
        }
        out[at - 1] = '\n';
        return at;
    }

    inline fn writeNull(w: *const Writer, out: []u8, at: usize) usize {
        const marker = w.null_marker;
        // A whole chunk is one instruction; what is behind the marker is written over.
        if (marker.len <= chunk) out[at..][0..chunk].* = w.null_chunk else @memcpy(out[at..][0..marker.len], marker);
        return at + marker.len;
    }

    inline fn writeShort(w: *const Writer, out: []u8, at: usize, view: tables.View) usize {
        const text: Chunk = @bitCast(@as(u128, @bitCast(view)) >> 32);
        const inside = (@as(u16, 1) << @intCast(view.length)) - 1;
        if (view.length == 0 or w.findSpecial(chunk, text) & inside != 0) {
            const bytes: [chunk]u8 = text;
            return writeQuoted(out, at, bytes[0..view.length]);
        }
        out[at..][0..chunk].* = text;
        return at + view.length;
    }

    fn writeLong(w: *const Writer, out: []u8, at: usize, text: []const u8) usize {
        const to = out[at..][0..text.len];
        if (text.len < chunk) {
            const last = text.len - 8;
            const halves = [2]Half{ text[0..8].*, text[last..][0..8].* };
            if (w.findSpecial(8, halves[0]) | w.findSpecial(8, halves[1]) != 0) return writeQuoted(out, at, text);
            to[0..8].* = halves[0];
            to[last..][0..8].* = halves[1];
            return at + text.len;
        }
        var done: usize = 0;
        while (true) {
            const bytes: Chunk = text[done..][0..chunk].*;
            if (w.findSpecial(chunk, bytes) != 0) return writeQuoted(out, at, text);
            to[done..][0..chunk].* = bytes;
            if (done + chunk == text.len) return at + text.len;
            // The last chunk overlaps the one before.
            done = @min(done + chunk, text.len - chunk);
        }
    }

    /// Finds what makes quotes necessary, a bit a byte.
    inline fn findSpecial(w: *const Writer, comptime size: usize, text: @Vector(size, u8)) @Int(.unsigned, size) {
        const Bits = @Int(.unsigned, size);
        var found: Bits = 0;
        for ([_]u8{ w.delimiter, '"', '\n', '\r' }) |special| {
            found |= @bitCast(text == @as(@Vector(size, u8), @splat(special)));
        }
        return found;
    }

    /// Reads the next array; tells whether there is one.
    fn readNext(w: *Writer) Failure!bool {
        w.letGo();
        w.row = 0;
        w.rows = 0;
        if (w.stream.get_next(w.stream, &w.array) != 0) {
            w.array = nothing;
            return error.Unreadable;
        }
        if (w.array.release == null) return false;
        const children = (w.array.children orelse return error.Unreadable)[0..@intCast(w.array.n_children)];
        if (children.len != w.columns.len) return error.Unreadable;
        for (children, w.columns) |child, *column| {
            if (child.n_buffers < 3 or child.length < w.array.offset + w.array.length) return error.Unreadable;
            const buffers = (child.buffers orelse return error.Unreadable)[0..@intCast(child.n_buffers)];
            column.* = .{
                .valid = @ptrCast(buffers[0]),
                .views = @ptrCast(buffers[1] orelse if (child.length == 0) @as(*const anyopaque, @ptrCast(w)) else return error.Unreadable),
                .offset = @intCast(w.array.offset + child.offset),
                .buffers = buffers[2 .. buffers.len - 1],
                .sizes = @ptrCast(buffers[buffers.len - 1] orelse @as(*const anyopaque, @ptrCast(w))),
            };
            // Without long texts there need be no sizes.
            if (buffers[buffers.len - 1] == null) column.buffers = &.{};
        }
        w.rows = @intCast(w.array.length);
        return true;
    }
};

fn writeQuoted(out: []u8, start: usize, text: []const u8) usize {
    out[start] = '"';
    var at = start + 1;
    var done: usize = 0;
    while (done < text.len) {
        if (done + chunk <= text.len) {
            const bytes: Chunk = text[done..][0..chunk].*;
            if (!@reduce(.Or, bytes == @as(Chunk, @splat('"')))) {
                out[at..][0..chunk].* = bytes;
                at += chunk;
                done += chunk;
                continue;
            }
        }
        const some = text[done..@min(done + chunk, text.len)];
        const to = out[at..][0 .. 2 * some.len + 1];
        var used: usize = 0;
        for (some) |c| {
            // Without a branch, since documents are full of quotes; what is written behind is written over.
            to[used] = c;
            to[used + 1] = '"';
            used += 1 + @as(usize, @intFromBool(c == '"'));
        }
        at += used;
        done += some.len;
    }
    out[at] = '"';
    return at + 1;
}

/// Counts a stream's columns, all of which are string views.
fn countColumns(stream: *Stream) Failure!usize {
    var schema: arrow.Schema = undefined;
    if (stream.get_schema(stream, &schema) != 0) return error.Unreadable;
    defer if (schema.release) |release| release(&schema);
    if (schema.n_children < 1) return error.Unreadable;
    const children = (schema.children orelse return error.Unreadable)[0..@intCast(schema.n_children)];
    for (children) |child| {
        if (!std.mem.eql(u8, std.mem.span(child.format orelse return error.Unreadable), "vu")) return error.Unreadable;
    }
    return children.len;
}
