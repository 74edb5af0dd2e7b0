//! Records of DynamoDB Streams (DynamoDB Streams API, `Record`), as rows: what is around the items, checked.
const std = @import("std");
const items = @import("items.zig");
const pass_of = @import("pass.zig");
const scanner = @import("scanner.zig");
const tables = @import("table.zig");
const times = @import("times.zig");
const plans = @import("plan.zig");
const arenas = @import("arena.zig");
const Fault = scanner.Fault;
const Pass = pass_of.Pass;
const Text = scanner.Text;
const literal = tables.literal;

const max_event_id = 128;
const sequence_digits = 40;

/// Offsets of views have 31 bits.
pub const max_bytes = std.math.maxInt(i32);

const Operation = enum { insert, modify, remove };

/// Reads an event: `{"Records":[...]}`.
pub fn readEvent(p: *Pass, spare: *arenas.Spare) Fault!void {
    const in = &p.in;
    if (!in.take("{\"Records\":[")) return error.Broken;
    if (!in.take("]}")) while (true) {
        const start = in.at;
        if (p.table.row == p.table.capacity) try makeRoom(p, spare, start);
        const mark = p.out.used;
        readRecord(p) catch |fault| {
            if (fault == error.OutOfMemory) return fault;
            in.at = start;
            _ = try in.levels();
            try p.leave(start, in.at, mark);
        };
        if (in.take(",")) continue;
        if (in.take("]}")) break;
        return error.Broken;
    };
    if (in.at != in.bytes.len) return error.Broken;
}

/// Makes room for as many rows as the event may have, if all records are about as long as the one at hand.
fn makeRoom(p: *Pass, spare: *arenas.Spare, start: usize) Fault!void {
    _ = try p.in.levels();
    try growTable(p, spare, p.in.at - start);
    p.in.at = start;
}

/// Makes room for the rows of records of `record_bytes` bytes: at first for no more than twice the event's bytes.
pub fn growTable(p: *Pass, spare: *arenas.Spare, record_bytes: usize) Fault!void {
    if (p.table.capacity > 0) return p.table.grow(spare, p.table.capacity * 2);
    const guess = p.in.bytes.len / (record_bytes + 1) * 17 / 16 + 8;
    const most = p.in.bytes.len * 2 / (p.table.columns * @sizeOf(tables.View));
    try p.table.grow(spare, @min(guess, most + 64));
}

/// Reads one record, and takes its row.
fn readRecord(p: *Pass) Fault!void {
    const in = &p.in;
    p.begin();
    if (!in.take("{")) return error.Odd;
    var seen: u32 = 0;
    var guess: u32 = 0;
    var event_id: ?Text = null;
    var operation: ?Operation = null;
    var is_of_stream = false;
    var expired = false;
    var change_start: usize = 0;
    var done = false;
    while (true) {
        const which = try p.plan.envelope.read(in, guess, &p.spare, &p.unknown);
        guess = if (which) |found| found + 1 else 0;
        if (which) |found| {
            const bit = @as(u32, 1) << @intCast(found);
            if (seen & bit != 0) return error.Odd;
            seen |= bit;
        }
        switch (which orelse plans.Plan.envelope_names.len) {
            0 => event_id = try readEventId(p),
            1 => operation = try readOperation(p),
            5 => if (operation) |known| {
                try readChange(p, known);
                done = true;
            } else {
                change_start = in.at;
                try in.skip(1);
            },
            6 => {
                if (!in.take("\"")) return error.Odd;
                const arn = try in.string();
                if (arn.escaped or !std.mem.eql(u8, in.slice(arn), p.stream_arn)) return error.Odd;
                is_of_stream = true;
            },
            7 => expired = try readIdentity(p),
            else => try in.skip(1),
        }
        if (in.take(",")) continue;
        if (in.take("}")) break;
        return error.Broken;
    }
    if (!is_of_stream) return error.Odd;
    const op = operation orelse return error.Odd;
    if (!done) {
        const end = in.at;
        if (change_start == 0) return error.Odd;
        in.at = change_start;
        try readChange(p, op);
        in.at = end;
    }
    const id = event_id orelse return error.Odd;
    p.putSystem(.op, switch (op) {
        .insert => literal("INSERT"),
        .modify => literal("MODIFY"),
        .remove => if (expired) literal("EXPIRE") else literal("REMOVE"),
    });
    p.putSystem(.event_id, tables.viewOf(in.bytes, id.start, id.len(), tables.in_event));
    p.putSystem(.deleted, if (op == .remove) literal("true") else literal("false"));
    try p.ids.ensureUnusedCapacity(p.gpa, id.len() + 1);
    p.ids.appendAssumeCapacity('\n');
    p.ids.appendSliceAssumeCapacity(in.slice(id));
    try p.accept();
}

/// An event id is printable ASCII.
fn readEventId(p: *Pass) Fault!Text {
    if (!p.in.take("\"")) return error.Odd;
    const id = try p.in.string();
    if (id.escaped or id.high or id.len() == 0 or id.len() > max_event_id) return error.Odd;
    if (std.mem.indexOfScalar(u8, p.in.slice(id), 0x7f) != null) return error.Odd;
    return id;
}

fn readOperation(p: *Pass) Fault!Operation {
    if (p.in.take("\"INSERT\"")) return .insert;
    if (p.in.take("\"MODIFY\"")) return .modify;
    if (p.in.take("\"REMOVE\"")) return .remove;
    return error.Odd;
}

/// Tells whether DynamoDB's time to live deleted the item; any identity but its own is left.
fn readIdentity(p: *Pass) Fault!bool {
    if (p.in.take("null")) return false;
    if (p.in.take("{\"type\":\"Service\",\"principalId\":\"dynamodb.amazonaws.com\"}")) return true;
    if (p.in.take("{\"principalId\":\"dynamodb.amazonaws.com\",\"type\":\"Service\"}")) return true;
    return error.Odd;
}

/// Reads `dynamodb`, the change itself.
fn readChange(p: *Pass, operation: Operation) Fault!void {
    const in = &p.in;
    if (!in.take("{")) return error.Odd;
    var seen: u32 = 0;
    var guess: u32 = 0;
    var sequence: ?Text = null;
    var keys_start: usize = 0;
    var old_start: usize = 0;
    var has_time = false;
    var has_image = false;
    while (true) {
        const which = try p.plan.change.read(in, guess, &p.spare, &p.unknown);
        guess = if (which) |found| found + 1 else 0;
        if (which) |found| {
            const bit = @as(u32, 1) << @intCast(found);
            if (seen & bit != 0) return error.Odd;
            seen |= bit;
        }
        switch (which orelse plans.Plan.change_names.len) {
            0 => {
                if (in.peek() != '-' and !std.ascii.isDigit(in.peek())) return error.Odd;
                try readTime(p, try in.numeral());
                has_time = true;
            },
            1 => {
                keys_start = in.at;
                try items.readKeys(p);
            },
            2 => {
                if (!in.take("\"")) return error.Odd;
                sequence = try in.string();
            },
            5 => if (operation == .remove) {
                if (in.peek() != '{') return error.Odd;
                try in.skip(2);
            } else {
                try items.read(p, .{});
                has_image = true;
            },
            6 => {
                if (in.peek() == '{') old_start = in.at else if (in.peek() != 'n') return error.Odd;
                try in.skip(2);
            },
            else => try in.skip(2),
        }
        if (in.take(",")) continue;
        if (in.take("}")) break;
        return error.Broken;
    }
    if (!has_time or keys_start == 0) return error.Odd;
    const end = in.at;
    if (operation == .remove) try readDeleted(p, keys_start, old_start) else if (!has_image) return error.Odd;
    in.at = end;
    try finishItem(p, in.slice(sequence orelse return error.Odd));
}

/// Reads what a deleted item leaves: its key, and where old images are kept what else it held; 0 where it has none.
pub fn readDeleted(p: *Pass, keys_start: usize, old_start: usize) Fault!void {
    p.in.at = keys_start;
    try items.read(p, .{ .deleted = true });
    if (p.plan.old_images == .needed and old_start == 0) return error.Odd;
    if (p.plan.old_images == .ignored or old_start == 0) return;
    p.in.at = old_start;
    try items.read(p, .{ .without_keys = true, .deleted = true });
}

/// Writes what follows from a change that has been read: NULLs, the extra column, key, version and time.
pub fn finishItem(p: *Pass, sequence: []const u8) Fault!void {
    p.putNulls();
    try items.putExtra(p);
    try items.putKey(p);
    try putVersion(p, sequence);
    p.putSystem(.changed_at, p.time_view);
}

/// Reads `ApproximateCreationDateTime`, and what follows from it: most records share it with the one before.
pub fn readTime(p: *Pass, spelled: []const u8) Fault!void {
    if (p.time_spelled.len > 0 and std.mem.eql(u8, spelled, p.time_spelled)) return;
    p.time_spelled = "";
    const seconds = std.fmt.parseFloat(f64, spelled) catch return error.Odd;
    const product = seconds * times.second;
    // The years 1000 to 9999, whose four digits every platform writes.
    if (!(product > -30_610_224_000_000_000 and product < 253_402_300_799_998_976)) return error.Odd;
    const moment = try times.Moment.of(roundToEven(product));
    const mark = p.out.used;
    try moment.write(&p.out, true);
    p.time_view = p.takeWritten(mark);
    p.version_prefix = for (p.version_starts, 0..) |_, place| {
        const start = p.version_starts[p.version_starts.len - 1 - place];
        if (seconds >= start.from) break start.prefix.slice();
    } else return error.Odd;
    p.time_spelled = spelled;
}

/// As Python's `round` does.
fn roundToEven(number: f64) i64 {
    const down = @floor(number);
    const over = number - down;
    const whole: i64 = @intFromFloat(down);
    const up = over > 0.5 or (over == 0.5 and @mod(whole, 2) == 1);
    return whole + @intFromBool(up);
}

/// Writes `_version`: its epoch and label, and the sequence number with zeros before it.
fn putVersion(p: *Pass, sequence: []const u8) Fault!void {
    if (sequence.len == 0 or sequence.len > sequence_digits) return error.Odd;
    for (sequence) |c| if (!std.ascii.isDigit(c)) return error.Odd;
    const mark = p.out.used;
    try p.out.write(p.version_prefix);
    var number: [sequence_digits]u8 = @splat('0');
    @memcpy(number[sequence_digits - sequence.len ..], sequence);
    try p.out.write(&number);
    p.putSystem(.version, p.takeWritten(mark));
}
