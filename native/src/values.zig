//! Attribute values as their columns' texts. Each rule is one of `fastetl.columns`; what does not fit, or is not spelled as DynamoDB
//! spells it, is odd, and the reference says what becomes of it.
const std = @import("std");
const documents = @import("documents.zig");
const numbers = @import("numbers.zig");
const plans = @import("plan.zig");
const scanner = @import("scanner.zig");
const strings = @import("strings.zig");
const tables = @import("table.zig");
const times = @import("times.zig");
const Fault = scanner.Fault;
const Pass = @import("pass.zig").Pass;
const Text = scanner.Text;

/// Gives everything that takes an attribute's value, or a part of it, its text. `depth` levels of JSON are around it.
pub fn putNode(p: *Pass, number: u32, depth: u32) Fault!void {
    const node = &p.plan.nodes.items[number];
    if (node.single != plans.none) return putValue(p, node.single, depth);
    const start = p.in.at;
    for (node.whole.items, 0..) |column, turn| {
        if (turn > 0) p.in.at = start;
        try putValue(p, column, depth);
    }
    if (node.isWhole()) return;
    p.in.at = start;
    try putParts(p, node, depth);
}

fn putParts(p: *Pass, node: *plans.Node, depth: u32) Fault!void {
    if (depth > scanner.max_depth) return error.Odd;
    if (p.in.take("{\"M\":{")) {
        if (node.elements.items.len > 0) return error.Odd;
        try putMembers(p, node, depth);
    } else if (p.in.take("{\"L\":[")) {
        if (node.members.list.items.len > 0) return error.Odd;
        try putElements(p, node, depth);
    } else if (!p.in.take("{\"NULL\":true}")) return error.Odd else {
        for (node.parts.items) |column| p.putNull(column);
    }
}

fn putMembers(p: *Pass, node: *plans.Node, depth: u32) Fault!void {
    var guess: u32 = 0;
    if (!p.in.take("}")) while (true) {
        const which = try node.members.read(&p.in, guess, &p.spare, &p.unknown);
        if (which) |found| {
            const name = &node.members.list.items[found];
            if (name.turn == p.turn) return error.Odd;
            name.turn = p.turn;
            guess = name.next;
            try putNode(p, name.leads_to, depth + 2);
        } else try p.in.skip(depth + 2);
        if (p.in.take(",")) continue;
        if (p.in.take("}")) break;
        return error.Broken;
    };
    try p.in.close();
}

fn putElements(p: *Pass, node: *plans.Node, depth: u32) Fault!void {
    var position: u64 = 0;
    if (!p.in.take("]")) while (true) : (position += 1) {
        for (node.elements.items) |element| {
            if (element.position == position) {
                try putNode(p, element.node, depth + 2);
                break;
            }
        } else try p.in.skip(depth + 2);
        if (p.in.take(",")) continue;
        if (p.in.take("]")) break;
        return error.Broken;
    };
    try p.in.close();
}

/// Gives one column the text of the value at hand.
fn putValue(p: *Pass, number: u32, depth: u32) Fault!void {
    const column = &p.plan.columns[number];
    switch (column.kind) {
        .varchar, .char => {
            if (p.in.take("{\"S\":\"")) return putString(p, column, number);
            if (p.in.take("{\"N\":\"")) {
                try readNumber(p);
                if (p.number.spelled.len() > column.length) return error.Odd;
                return p.putText(number, p.number.spelled);
            }
            if (column.length >= 4 and p.in.take("{\"BOOL\":true}")) return p.putTruth(number, true);
            if (column.length >= 5 and p.in.take("{\"BOOL\":false}")) return p.putTruth(number, false);
        },
        .integer => if (p.in.take("{\"N\":\"")) {
            try readNumber(p);
            if (!numbers.fitsInteger(&p.number, column.length)) return error.Odd;
            return putNumber(p, number);
        },
        .decimal => if (p.in.take("{\"N\":\"")) {
            try readNumber(p);
            if (!numbers.fitsDecimal(&p.number, column.precision, column.scale)) return error.Odd;
            return putNumber(p, number);
        },
        .real, .double => if (p.in.take("{\"N\":\"")) {
            try readNumber(p);
            const fits = if (column.kind == .real) numbers.fitsFloat(f32, &p.number) else numbers.fitsFloat(f64, &p.number);
            if (!try fits) return error.Odd;
            return putNumber(p, number);
        },
        .boolean => {
            if (p.in.take("{\"BOOL\":true}")) return p.putTruth(number, true);
            if (p.in.take("{\"BOOL\":false}")) return p.putTruth(number, false);
        },
        .varbyte => if (p.in.take("{\"B\":\"")) return putBinary(p, column, number),
        .date, .timestamp, .timestamptz => if (p.in.take("{\"S\":\"")) return putTime(p, column, number),
        .epoch_date, .epoch_timestamp, .epoch_timestamptz => if (p.in.take("{\"N\":\"")) {
            return putEpochTime(p, column, number);
        },
        .time, .timetz => if (p.in.take("{\"S\":\"")) {
            const string = try p.in.string();
            try p.in.close();
            const mark = p.out.used;
            try times.writeTimeOfDay(p.in.slice(string), &p.out, column.kind == .timetz);
            return p.putWritten(number, mark);
        },
        .super => {
            const mark = p.out.used;
            try documents.write(p, &p.out, depth);
            return p.putWritten(number, mark);
        },
        .spelled => if (!p.in.take("{\"NULL\":true}")) return putSpelled(p, number, depth) else return p.putNull(number),
        .unknown => return error.Odd,
    }
    if (!p.in.take("{\"NULL\":true}")) return error.Odd;
    p.putNull(number);
}

/// Gives a column the JSON of the value at hand.
fn putSpelled(p: *Pass, number: u32, depth: u32) Fault!void {
    const start = p.in.at;
    try p.in.skip(depth);
    const text = p.in.bytes[start..p.in.at];
    // Strings were passed over without a look at them.
    if (!std.unicode.utf8ValidateSlice(text)) return error.Odd;
    p.put(number, tables.viewOf(p.in.bytes, start, text.len, tables.in_event));
}

inline fn readNumber(p: *Pass) Fault!void {
    try numbers.read(&p.in, &p.number, &p.number_spare);
    try p.in.close();
}

inline fn putNumber(p: *Pass, number: u32) Fault!void {
    if (p.number.is_spelled_plainly) return p.putText(number, p.number.spelled);
    const mark = p.out.used;
    try p.out.write(p.number.plain);
    return p.putWritten(number, mark);
}

inline fn putString(p: *Pass, column: *const plans.Column, number: u32) Fault!void {
    const text = try p.in.string();
    try p.in.close();
    if (text.escaped) return putEscaped(p, column, number, text);
    if (text.len() > column.length) return error.Odd;
    if (column.kind == .char and !isOfChar(p.in.slice(text))) return error.Odd;
    return p.putText(number, text);
}

fn putEscaped(p: *Pass, column: *const plans.Column, number: u32, text: Text) Fault!void {
    const mark = p.out.used;
    try strings.unescape(&p.out, p.in.slice(text));
    const written = p.out.since(mark);
    if (written.len > column.length) return error.Odd;
    if (column.kind == .char and !isOfChar(written)) return error.Odd;
    return p.putWritten(number, mark);
}

/// CHAR holds ASCII and drops blanks at the end.
fn isOfChar(text: []const u8) bool {
    for (text) |c| if (c >= 0x80) return false;
    return text.len == 0 or text[text.len - 1] != ' ';
}

fn putBinary(p: *Pass, column: *const plans.Column, number: u32) Fault!void {
    const text = try p.in.string();
    try p.in.close();
    const base64 = p.in.slice(text);
    const length = try decodedLength(base64);
    if (length == 0 or length > column.length) return error.Odd;
    const mark = p.out.used;
    try p.out.reserve(length * 2);
    var written: usize = 0;
    var word: u32 = 0;
    for (base64, 1..) |c, place| {
        word = word << 6 | (sextet(c) orelse 0);
        if (place % 4 != 0) continue;
        for ([_]u5{ 16, 8, 0 }) |shift| {
            if (written == length) break;
            const digits = "0123456789abcdef";
            const byte: u8 = @truncate(word >> shift);
            try p.out.write(&.{ digits[byte >> 4], digits[byte & 15] });
            written += 1;
        }
        word = 0;
    }
    return p.putWritten(number, mark);
}

/// Gives how many bytes a text of base64 stands for; odd where it is none, or padded otherwise than usual.
pub fn decodedLength(base64: []const u8) Fault!usize {
    if (base64.len % 4 != 0) return error.Odd;
    if (base64.len == 0) return 0;
    const padding: usize = if (std.mem.endsWith(u8, base64, "==")) 2 else @intFromBool(base64[base64.len - 1] == '=');
    for (base64[0 .. base64.len - padding]) |c| if (sextet(c) == null) return error.Odd;
    return base64.len / 4 * 3 - padding;
}

pub fn sextet(c: u8) ?u32 {
    return switch (c) {
        'A'...'Z' => c - 'A',
        'a'...'z' => c - 'a' + 26,
        '0'...'9' => c - '0' + 52,
        '+' => 62,
        '/' => 63,
        else => null,
    };
}

fn putTime(p: *Pass, column: *const plans.Column, number: u32) Fault!void {
    const string = try p.in.string();
    try p.in.close();
    const text = p.in.slice(string);
    if (column.kind == .date) {
        try times.checkDay(text);
        return p.putText(number, string);
    }
    const written = try times.read(text);
    const mark = p.out.used;
    switch (written) {
        .as_it_is => {
            var copied: [19]u8 = text[0..19].*;
            copied[10] = ' ';
            try p.out.write(&copied);
        },
        .moment => |moment| try moment.write(&p.out, false),
    }
    if (column.kind == .timestamptz) try p.out.write("+00");
    return p.putWritten(number, mark);
}

fn putEpochTime(p: *Pass, column: *const plans.Column, number: u32) Fault!void {
    try readNumber(p);
    const moment = try times.Moment.of(try toMicroseconds(&p.number, column.length));
    const mark = p.out.used;
    if (column.kind == .epoch_date) {
        if (!moment.isMidnight()) return error.Odd;
        try moment.writeDay(&p.out);
    } else {
        try moment.write(&p.out, false);
        if (column.kind == .epoch_timestamptz) try p.out.write("+00");
    }
    return p.putWritten(number, mark);
}

/// Turns a number of units, each of `unit` microseconds (a power of ten), into microseconds, if these are whole.
fn toMicroseconds(found: *const numbers.Number, unit: u32) Fault!i64 {
    var room: [64]u8 = undefined;
    const significant = try found.significant(&room);
    var exponent = significant.exponent;
    var rest = unit;
    while (rest > 1) : (rest /= 10) exponent += 1;
    if (significant.digits.len == 0) return 0;
    if (exponent < 0 or significant.digits.len + @as(usize, @intCast(exponent)) > 18) return error.Odd;
    var micros: i64 = 0;
    for (significant.digits) |c| micros = micros * 10 + (c - '0');
    for (0..@intCast(exponent)) |_| micros *= 10;
    return if (found.negative) -micros else micros;
}
