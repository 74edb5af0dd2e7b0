//! Lists and maps that items hold, a line each as the event spells them, as rows of their elements. Of a row, `_event_id` is the element's
//! position in a list and `_op` its name in a map, the other NULL, and its place among the received is the line's.
const std = @import("std");
const items = @import("items.zig");
const pass_of = @import("pass.zig");
const records = @import("records.zig");
const tables = @import("table.zig");
const arenas = @import("arena.zig");
const Fault = @import("scanner.zig").Fault;
const Pass = pass_of.Pass;
const Text = @import("scanner.zig").Text;

/// Of a map's name; `fastetl.config.targets` has it as well.
const max_name_bytes = 1024;

/// About what an element is long, for the room of the first rows.
const guessed_bytes = 64;

/// Undeclared attributes of a line's elements, counted when the line has been read.
const Ignored = std.ArrayList(u32);

/// Reads lines; of one that is not as expected no element is taken, whatever is in it.
pub fn read(p: *Pass, spare: *arenas.Spare) Fault!void {
    const bytes = p.in.bytes;
    var ignored: Ignored = .empty;
    defer ignored.deinit(p.gpa);
    var start: usize = 0;
    while (start < bytes.len) {
        const end = std.mem.indexOfScalarPos(u8, bytes, start, '\n') orelse bytes.len;
        // So that there is a row at hand, which can be given up.
        if (p.table.row == p.table.capacity) try records.growTable(p, spare, guessed_bytes);
        const mark = p.out.used;
        const row = p.table.row;
        p.in.at = start;
        ignored.clearRetainingCapacity();
        if (readLine(p, spare, end, &ignored)) {
            for (ignored.items) |name| p.attributes.list.items[name].count += 1;
            p.received += 1;
        } else |fault| {
            if (fault == error.OutOfMemory) return fault;
            giveUp(p, row);
            try p.leave(start, end, mark);
        }
        start = end + 1;
    }
}

/// Takes back the rows of a line, and what the row at hand has been given.
fn giveUp(p: *Pass, row: usize) void {
    while (p.table.row > row) : (p.table.row -= 1) {
        if (p.table.row < p.table.capacity) p.table.clearRow();
    }
    p.positions.shrinkRetainingCapacity(row);
}

fn readLine(p: *Pass, spare: *arenas.Spare, end: usize, ignored: *Ignored) Fault!void {
    const in = &p.in;
    if (in.take("{\"L\":[")) {
        var position: u64 = 0;
        if (!in.take("]")) while (true) : (position += 1) {
            try readElement(p, spare, ignored, .{ .position = position });
            if (in.take(",")) continue;
            if (in.take("]")) break;
            return error.Broken;
        };
    } else if (in.take("{\"M\":{")) {
        if (!in.take("}")) while (true) {
            if (!in.take("\"")) return error.Broken;
            const name = try in.string();
            if (name.escaped or name.len() > max_name_bytes or !in.take(":")) return error.Odd;
            try readElement(p, spare, ignored, .{ .name = name });
            if (in.take(",")) continue;
            if (in.take("}")) break;
            return error.Broken;
        };
    } else return error.Odd;
    try in.close();
    if (in.at != end) return error.Odd;
}

const Place = union(enum) { position: u64, name: Text };

/// Reads an element that is a map, `{"M":{...}}`, as a row.
fn readElement(p: *Pass, spare: *arenas.Spare, ignored: *Ignored, place: Place) Fault!void {
    if (p.table.row == p.table.capacity) try records.growTable(p, spare, guessed_bytes);
    p.begin();
    if (!p.in.take("{\"M\":")) return error.Odd;
    try items.read(p, .{});
    try p.in.close();
    try items.putExtra(p);
    p.putNulls();
    for ([_]pass_of.System{ .key, .version, .changed_at, .deleted }) |column| p.table.putNull(@backingInt(column));
    switch (place) {
        .position => |position| {
            var digits: [24]u8 = @splat(0);
            const written = std.fmt.bufPrint(&digits, "{d}", .{position}) catch return error.Odd;
            if (written.len > tables.max_inline) return error.Odd;
            p.putSystem(.event_id, tables.viewOf(&digits, 0, written.len, tables.in_event));
            p.table.putNull(@backingInt(pass_of.System.op));
        },
        .name => |name| {
            if (std.mem.eql(u8, p.in.slice(name), p.plan.null_marker)) return error.Odd;
            p.putSystem(.op, tables.viewOf(p.in.bytes, name.start, name.len(), tables.in_event));
            p.table.putNull(@backingInt(pass_of.System.event_id));
        },
    }
    try p.positions.append(p.gpa, p.received);
    try ignored.appendSlice(p.gpa, p.ignored.items);
    p.table.row += 1;
}
