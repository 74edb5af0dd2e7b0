//! Lines of DynamoDB's exports (DynamoDB Developer Guide, "DynamoDB table export output format"), as the rows that the events built
//! from them would give.
const std = @import("std");
const items = @import("items.zig");
const pass_of = @import("pass.zig");
const plans = @import("plan.zig");
const records = @import("records.zig");
const scanner = @import("scanner.zig");
const tables = @import("table.zig");
const arenas = @import("arena.zig");
const Fault = scanner.Fault;
const Pass = pass_of.Pass;
const literal = tables.literal;

pub const Export = extern struct {
    /// What event ids begin with; a colon and the line's number follow.
    id_prefix: plans.Bytes,
    first_line: u64,
    /// When the export was made, in Unix seconds, as JSON has it.
    seconds: plans.Bytes,
    /// It holds changes, not items.
    incremental: u32,
};

/// Reads lines; each that is not as expected is left, whatever is in it.
pub fn read(p: *Pass, spare: *arenas.Spare, source: *const Export) Fault!void {
    const bytes = p.in.bytes;
    var start: usize = 0;
    while (start < bytes.len) {
        const end = std.mem.indexOfScalarPos(u8, bytes, start, '\n') orelse bytes.len;
        if (p.table.row == p.table.capacity) try records.growTable(p, spare, end - start);
        const mark = p.out.used;
        p.in.at = start;
        readLine(p, source, end) catch |fault| {
            if (fault == error.OutOfMemory) return fault;
            try p.leave(start, end, mark);
        };
        start = end + 1;
    }
}

fn readLine(p: *Pass, source: *const Export, end: usize) Fault!void {
    p.begin();
    try records.readTime(p, source.seconds.slice());
    const is_delete = if (source.incremental != 0) try readChange(p) else try readItem(p);
    if (p.in.at != end) return error.Odd;
    p.putSystem(.op, if (source.incremental == 0) literal("INSERT") else if (is_delete) literal("REMOVE") else literal("MODIFY"));
    p.putSystem(.deleted, if (is_delete) literal("true") else literal("false"));
    const mark = p.out.used;
    try p.out.write(source.id_prefix.slice());
    var number: [24]u8 = undefined;
    try p.out.write(std.fmt.bufPrint(&number, ":{d}", .{source.first_line + p.received}) catch return error.Odd);
    p.putSystem(.event_id, p.takeWritten(mark));
    try p.accept();
}

/// Reads `{"Item":{...}}`.
fn readItem(p: *Pass) Fault!bool {
    if (!p.in.take("{\"Item\":")) return error.Odd;
    try items.read(p, .{ .keys = true });
    if (!p.in.take("}")) return error.Odd;
    try records.finishItem(p, "0");
    return false;
}

/// Reads `{"Metadata":{...},"Keys":{...},"NewImage":{...},"OldImage":{...}}`; tells whether the item was deleted.
fn readChange(p: *Pass) Fault!bool {
    const in = &p.in;
    if (!in.take("{")) return error.Odd;
    var seen: u32 = 0;
    var guess: u32 = 1;
    var written: []const u8 = "";
    var keys_start: usize = 0;
    var old_start: usize = 0;
    var has_image = false;
    while (true) {
        const which = try p.plan.line.read(in, guess, &p.spare, &p.unknown) orelse return error.Odd;
        guess = which + 1;
        const bit = @as(u32, 1) << @intCast(which);
        if (seen & bit != 0) return error.Odd;
        seen |= bit;
        switch (which) {
            1 => written = try readWritten(p),
            2 => {
                keys_start = in.at;
                try items.readKeys(p);
            },
            3 => {
                try items.read(p, .{});
                has_image = true;
            },
            4 => {
                if (in.peek() != '{') return error.Odd;
                old_start = in.at;
                try in.skip(2);
            },
            else => return error.Odd,
        }
        if (in.take(",")) continue;
        if (in.take("}")) break;
        return error.Odd;
    }
    const end = in.at;
    if (keys_start == 0) return error.Odd;
    if (!has_image) try records.readDeleted(p, keys_start, old_start);
    in.at = end;
    try records.finishItem(p, written);
    return !has_image;
}

/// Reads when the item was written, in microseconds.
fn readWritten(p: *Pass) Fault![]const u8 {
    if (!p.in.take("{\"WriteTimestampMicros\":{\"N\":\"")) return error.Odd;
    const string = try p.in.string();
    if (!p.in.take("}}")) return error.Odd;
    const digits = p.in.slice(string);
    return if (digits.len > 1 and digits[0] == '0') error.Odd else digits;
}
