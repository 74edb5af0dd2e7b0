//! What holds of the rows of any bytes whatever: looked at as whoever imports them does, through Arrow's arrays.
const std = @import("std");
const arrow = @import("../src/arrow.zig");
const pass_of = @import("../src/pass.zig");
const rows_of = @import("../src/rows.zig");
const tables = @import("../src/table.zig");
const Rows = rows_of.Rows;

pub const Error = error{ Counts, Order, Views, Utf8, Nulls, Ids, Kept } || std.mem.Allocator.Error;

/// Looks at rows of records that are good, hands them out, and takes them back. Gives a hash of all their texts.
pub fn check(rows: *Rows) Error!u64 {
    const result = rows.result;
    if (result.rows + result.left_count != result.received) return error.Counts;
    try checkOrder(rows);
    return checkArrays(rows);
}

/// Does the same for rows of elements, of which a line has any number.
pub fn checkElements(rows: *Rows) Error!u64 {
    if (rows.positions.items.len != rows.result.rows or rows.left.items.len != rows.result.left_count) return error.Counts;
    var left: usize = 0;
    var before: u32 = 0;
    for (rows.positions.items) |position| {
        if (position < before or position >= rows.result.received) return error.Order;
        before = position;
        while (left < rows.left.items.len and rows.left.items[left].position < position) left += 1;
        // Of a line that is left no element is taken.
        if (left < rows.left.items.len and rows.left.items[left].position == position) return error.Order;
    }
    for (rows.left.items) |place| {
        if (place.position >= rows.result.received or place.start > place.end or place.end > rows.event.len) return error.Order;
    }
    return checkArrays(rows);
}

fn checkArrays(rows: *Rows) Error!u64 {
    const result = rows.result;
    var hash = std.hash.Wyhash.init(result.rows);
    if (std.mem.count(u8, rows.ids.items, "\n") != result.rows and rows.ids.items.len > 0) return error.Ids;
    var array: arrow.Array = undefined;
    var schema: arrow.Schema = undefined;
    arrow.describe(rows, "0123456789abcdef0123456789abcdef", &array, &schema) catch return error.OutOfMemory;
    for (array.children.?[0..@intCast(array.n_children)]) |child| try checkColumn(child, &hash);
    if (rows.references.load(.acquire) == 1) return error.Kept;
    // A column may be taken out and dropped after all others, in any order.
    const taken = array.children.?[0].*;
    array.children.?[0].release = null;
    array.release.?(&array);
    schema.release.?(&schema);
    if (rows.references.load(.acquire) != 2) return error.Kept;
    var last = taken;
    last.release.?(&last);
    return hash.final();
}

fn checkOrder(rows: *Rows) Error!void {
    var left: usize = 0;
    var row: usize = 0;
    for (0..rows.result.received) |position| {
        if (row < rows.positions.items.len and rows.positions.items[row] == position) {
            row += 1;
        } else if (left < rows.left.items.len and rows.left.items[left].position == position) {
            const place = rows.left.items[left];
            if (place.start > place.end or place.end > rows.event.len) return error.Order;
            left += 1;
        } else return error.Order;
    }
}

fn checkColumn(column: *const arrow.Array, hash: *std.hash.Wyhash) Error!void {
    const rows: usize = @intCast(column.length);
    const buffers = column.buffers.?[0..5];
    const sizes: *const [2]i64 = @ptrCast(@alignCast(buffers[4].?));
    const valid: ?[*]const u8 = @ptrCast(buffers[0]);
    if (rows == 0) return;
    const views: [*]const tables.View = @ptrCast(@alignCast(buffers[1].?));
    var nulls: usize = 0;
    for (views[0..rows], 0..) |view, row| {
        const is_null = if (valid) |bits| bits[row / 8] >> @intCast(row % 8) & 1 == 0 else false;
        nulls += @intFromBool(is_null);
        if (is_null and view.length != 0) return error.Nulls;
        if (view.length <= tables.max_inline) {
            const bytes: [16]u8 = @bitCast(view);
            const text = bytes[4 .. 4 + view.length];
            if (!std.unicode.utf8ValidateSlice(text)) return error.Utf8;
            for (bytes[4 + view.length ..]) |c| if (c != 0) return error.Views;
            hash.update(if (is_null) "null" else text);
            continue;
        }
        if (view.buffer > 1) return error.Views;
        const size: usize = @intCast(sizes[view.buffer]);
        if (@as(usize, view.offset) + view.length > size) return error.Views;
        const bytes: [*]const u8 = @ptrCast(buffers[2 + view.buffer].?);
        const text = bytes[view.offset..][0..view.length];
        if (@as(u32, @bitCast(text[0..4].*)) != view.prefix) return error.Views;
        if (!std.unicode.utf8ValidateSlice(text)) return error.Utf8;
        if (std.mem.indexOfScalar(u8, text, 0) != null) return error.Utf8;
        hash.update(text);
    }
    if (nulls != column.null_count) return error.Nulls;
}
