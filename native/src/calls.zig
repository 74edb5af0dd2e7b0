//! What `fastetl/decode/native.py` and `ingest/csv.py` call: a plain C ABI. The caller holds Python's lock, so that one call runs at a time; only arrays
//! are dropped in any thread.
const std = @import("std");
const arenas = @import("arena.zig");
const arrow = @import("arrow.zig");
const csv = @import("csv.zig");
const decode = @import("decode.zig").decode;
const decodeElements = @import("decode.zig").decodeElements;
const lines = @import("lines.zig");
const pass_of = @import("pass.zig");
const plans = @import("plan.zig");
const rows_of = @import("rows.zig");
const scanner = @import("scanner.zig");
const Bytes = plans.Bytes;
const Plan = plans.Plan;
const Rows = rows_of.Rows;

/// Rises when what is called changes, so that an object of another version is not taken for this one.
pub const version = 5;

/// All memory: what is small comes from its slabs, what is large is mapped.
const gpa = std.heap.smp_allocator;

/// Large blocks that rows were freed of.
var spare: arenas.Spare = .{};

pub const panic = std.debug.FullPanic(abort);

/// A panic is a bug of this pass: there is no way back from it, and the process ends.
fn abort(message: []const u8, _: ?usize) noreturn {
    const start = "fastetl's native pass: ";
    _ = std.os.linux.write(2, start, start.len);
    _ = std.os.linux.write(2, message.ptr, message.len);
    _ = std.os.linux.write(2, "\n", 1);
    @trap();
}

export fn fastetl_version() callconv(.c) u32 {
    return version;
}

/// Compiles a plan; null where this pass cannot serve it.
export fn fastetl_plan(
    keys: [*]const Bytes,
    key_count: u32,
    columns: [*]const plans.Column,
    column_count: u32,
    null_marker: Bytes,
    undeclared: u32,
    old_images: u32,
) callconv(.c) ?*Plan {
    return Plan.create(gpa, .{
        .keys = keys[0..key_count],
        .columns = columns[0..column_count],
        .null_marker = null_marker.slice(),
        .undeclared = std.enums.fromInt(plans.Undeclared, undeclared) orelse return null,
        .old_images = std.enums.fromInt(plans.OldImages, old_images) orelse return null,
    }) catch null;
}

export fn fastetl_plan_free(plan: *Plan) callconv(.c) void {
    plan.destroy();
}

/// Reads an event; null where there is no memory. The event outlives what is given.
export fn fastetl_decode(
    plan: *Plan,
    event: Bytes,
    stream_arn: Bytes,
    starts: [*]const pass_of.VersionStart,
    start_count: u32,
) callconv(.c) ?*Rows {
    return decode(gpa, &spare, plan, event.slice(), stream_arn.slice(), starts[0..start_count], null) catch null;
}

/// Reads lines of an export; null where there is no memory. The text outlives what is given.
export fn fastetl_decode_lines(
    plan: *Plan,
    text: Bytes,
    source: *const lines.Export,
    starts: [*]const pass_of.VersionStart,
    start_count: u32,
) callconv(.c) ?*Rows {
    return decode(gpa, &spare, plan, text.slice(), "", starts[0..start_count], source) catch null;
}

/// Reads lists and maps, a line each, as rows of their elements; null where there is no memory. The text outlives what is given.
export fn fastetl_decode_elements(plan: *Plan, text: Bytes) callconv(.c) ?*Rows {
    return decodeElements(gpa, &spare, plan, text.slice()) catch null;
}

/// Describes rows as Arrow's arrays, with the file's name in a column of its own; tells whether that went well.
export fn fastetl_describe(rows: *Rows, file: Bytes, array: *arrow.Array, schema: *arrow.Schema) callconv(.c) u32 {
    arrow.describe(rows, file.slice(), array, schema) catch return 0;
    return 1;
}

/// Frees rows unless an array of them is still in use; tells whether it did.
export fn fastetl_free(rows: *Rows) callconv(.c) u32 {
    return @intFromBool(rows.free(&spare));
}

/// Writes JSON without blanks into as many bytes; gives how long it is, or the greatest number where it is no JSON.
export fn fastetl_compact(bytes: Bytes, out: [*]u8) callconv(.c) u64 {
    return scanner.compact(bytes.slice(), out[0..bytes.len]) catch std.math.maxInt(u64);
}

/// Begins to write a stream of Arrow's arrays as CSV; null where it is not one of text columns, or there is no memory.
/// The stream outlives what is given.
export fn fastetl_csv(stream: *csv.Stream, delimiter: u8, null_marker: [*]const u8, length: u64) callconv(.c) ?*csv.Writer {
    return csv.Writer.create(gpa, stream, delimiter, null_marker[0..length]) catch null;
}

/// Writes as many whole rows as there is room for; gives the number of bytes, or the greatest number where the stream cannot be read.
export fn fastetl_csv_write(writer: *csv.Writer, out: [*]u8, size: u64) callconv(.c) u64 {
    return writer.write(out[0..size]) catch std.math.maxInt(u64);
}

/// Tells how many bytes the next row takes at worst; 0 where no row is left.
export fn fastetl_csv_room(writer: *const csv.Writer) callconv(.c) u64 {
    return writer.room();
}

/// Tells how many bytes the longest row takes at worst, instead of writing rows; the greatest number where the stream cannot be read.
export fn fastetl_csv_longest(writer: *csv.Writer) callconv(.c) u64 {
    return writer.longest() catch std.math.maxInt(u64);
}

export fn fastetl_csv_free(writer: *csv.Writer) callconv(.c) void {
    writer.destroy();
}
