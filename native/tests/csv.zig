//! The CSV of rows against one that is written a byte at a time, through a stream as Polars gives it.
const std = @import("std");
const arrow = @import("../src/arrow.zig");
const csv = @import("../src/csv.zig");
const rows_of = @import("../src/rows.zig");
const tables = @import("../src/table.zig");
const Allocator = std.mem.Allocator;
const Rows = rows_of.Rows;

const null_marker = "\\N";

/// Gives one array, once.
const Source = struct {
    stream: csv.Stream = .{ .get_schema = giveSchema, .get_next = giveArray, .get_last_error = null, .release = null, .private_data = null },
    array: arrow.Array = undefined,
    schema: arrow.Schema = undefined,
    given: bool = false,

    fn giveSchema(stream: *csv.Stream, schema: *arrow.Schema) callconv(.c) c_int {
        const source: *Source = @fieldParentPtr("stream", stream);
        schema.* = source.schema;
        source.schema.release = null;
        return 0;
    }

    fn giveArray(stream: *csv.Stream, array: *arrow.Array) callconv(.c) c_int {
        const source: *Source = @fieldParentPtr("stream", stream);
        array.* = source.array;
        if (source.given) array.release = null;
        source.given = true;
        return 0;
    }
};

/// Writes rows into a buffer of `size` bytes, or as many as one row needs, and compares. Gives a hash of the CSV.
pub fn check(gpa: Allocator, rows: *Rows, delimiter: u8, size: usize) !u64 {
    const expected = try writePlainly(gpa, rows, delimiter);
    defer gpa.free(expected);
    var source = Source{};
    try arrow.describe(rows, "file", &source.array, &source.schema);
    const writer = try csv.Writer.create(gpa, &source.stream, delimiter, null_marker);
    defer writer.destroy();
    var buffer = try gpa.alloc(u8, size);
    defer gpa.free(buffer);
    var done: usize = 0;
    while (true) {
        const written = try writer.write(buffer);
        if (written == 0) {
            const room = writer.room();
            if (room == 0) break;
            if (room <= buffer.len) return error.Room;
            buffer = try gpa.realloc(buffer, room);
            continue;
        }
        if (!std.mem.startsWith(u8, expected[done..], buffer[0..written])) return error.Csv;
        done += written;
    }
    if (done != expected.len) return error.Csv;
    return std.hash.Wyhash.hash(0, expected);
}

fn writePlainly(gpa: Allocator, rows: *Rows, delimiter: u8) ![]u8 {
    var text: std.ArrayList(u8) = .empty;
    errdefer text.deinit(gpa);
    const file = @import("../src/pass.zig").system_columns;
    for (0..rows.table.row) |row| {
        for (0..rows.table.columns + 1) |field| {
            if (field > 0) try text.append(gpa, delimiter);
            if (field == file) {
                try text.appendSlice(gpa, "file");
                continue;
            }
            const column = if (field > file) field - 1 else field;
            if (rows.table.isNull(column, row)) {
                try text.appendSlice(gpa, null_marker);
                continue;
            }
            const view = rows.table.columnViews(column)[row];
            const short: [16]u8 = @bitCast(view);
            const long = if (view.buffer == tables.in_event) rows.event else rows.arena.written();
            const value = if (view.length <= tables.max_inline) short[4..][0..view.length] else long[view.offset..][0..view.length];
            const is_plain = value.len > 0 and std.mem.findAny(u8, value, &.{ delimiter, '"', '\n', '\r' }) == null;
            if (!is_plain) try text.append(gpa, '"');
            for (value) |c| try text.appendSlice(gpa, if (c == '"') "\"\"" else &.{c});
            if (!is_plain) try text.append(gpa, '"');
        }
        try text.append(gpa, '\n');
    }
    return text.toOwnedSlice(gpa);
}
