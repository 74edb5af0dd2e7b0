//! DynamoDB's sets as sorted arrays: it gives their elements in any order, and the same set is to be the same text.
const std = @import("std");
const documents = @import("documents.zig");
const numbers = @import("numbers.zig");
const values = @import("values.zig");
const scanner = @import("scanner.zig");
const Arena = @import("arena.zig").Arena;
const Fault = scanner.Fault;
const Pass = @import("pass.zig").Pass;
const Text = scanner.Text;

const few_elements = 32;

pub const Kind = enum { texts, numbers, binaries };

pub const Element = struct {
    string: Text,
    /// Where what it is sorted by stands in `spare`, if it is not the string itself.
    start: usize = 0,
    end: usize = 0,
    in_spare: bool = false,
};

/// Writes a set's elements from behind the opening bracket on, and passes over what closes it.
pub fn write(p: *Pass, out: *Arena, comptime kind: Kind) Fault!void {
    const mark = p.spare.used;
    p.elements.clearRetainingCapacity();
    if (!p.in.take("]")) while (true) {
        if (!p.in.take("\"")) return error.Odd;
        try p.elements.append(p.gpa, try readElement(p, kind));
        if (p.in.take(",")) continue;
        if (p.in.take("]")) break;
        return error.Broken;
    };
    const order = Order(kind){ .event = p.in.bytes, .spare = p.spare.written() };
    // Most sets are small, and the general sort has a cache that is filled each time.
    if (p.elements.items.len <= few_elements)
        std.sort.insertion(Element, p.elements.items, order, Order(kind).isLess)
    else
        std.mem.sort(Element, p.elements.items, order, Order(kind).isLess);
    try out.writeByte('[');
    for (p.elements.items, 0..) |element, place| {
        if (place > 0) try out.writeByte(',');
        switch (kind) {
            .texts => try documents.writeText(p, out, element.string),
            .numbers => try out.write(p.spare.raw.bytes[element.start..element.end]),
            .binaries => try out.write(p.in.bytes[element.string.start - 1 .. element.string.end + 1]),
        }
    }
    try out.writeByte(']');
    // Several columns may take parts of a record's documents from `spare`; what this set had there is done with.
    p.spare.used = mark;
    return p.in.close();
}

fn readElement(p: *Pass, comptime kind: Kind) Fault!Element {
    const start = p.spare.used;
    switch (kind) {
        .texts => {
            const string = try p.in.string();
            if (!string.escaped) return .{ .string = string };
            _ = try p.plainText(string);
            return .{ .string = string, .start = start, .end = p.spare.used, .in_spare = true };
        },
        .numbers => {
            try numbers.read(&p.in, &p.number, &p.number_spare);
            if (!numbers.fitsSuper(&p.number)) return error.Odd;
            try p.spare.write(p.number.plain);
            return .{ .string = p.number.spelled, .start = start, .end = p.spare.used, .in_spare = true };
        },
        .binaries => {
            const string = try p.in.string();
            const base64 = p.in.slice(string);
            const length = try values.decodedLength(base64);
            if (!hasPlainEnd(base64, length)) return error.Odd;
            return .{ .string = string };
        },
    }
}

/// Tells whether the bits that stand for nothing are zero: then base64 sorts as its bytes do.
fn hasPlainEnd(base64: []const u8, length: usize) bool {
    const last = switch (length % 3) {
        1 => values.sextet(base64[base64.len - 3]) orelse return false,
        2 => values.sextet(base64[base64.len - 2]) orelse return false,
        else => return true,
    };
    return if (length % 3 == 1) last & 15 == 0 else last & 3 == 0;
}

fn Order(comptime kind: Kind) type {
    return struct {
        event: []const u8,
        spare: []const u8,

        const Self = @This();

        fn isLess(order: Self, a: Element, b: Element) bool {
            const one = order.textOf(a);
            const other = order.textOf(b);
            return switch (kind) {
                .texts => std.mem.lessThan(u8, one, other),
                .numbers => isLessNumber(one, other),
                .binaries => isLessBinary(one, other),
            };
        }

        fn textOf(order: Self, element: Element) []const u8 {
            if (element.in_spare) return order.spare[element.start..element.end];
            return order.event[element.string.start..element.string.end];
        }
    };
}

/// Compares numbers that are written plainly: with as many digits before the point, they sort as texts do.
fn isLessNumber(one: []const u8, other: []const u8) bool {
    const is_negative = one[0] == '-';
    if (is_negative != (other[0] == '-')) return is_negative;
    const a, const b = if (is_negative) .{ other[1..], one[1..] } else .{ one, other };
    const before_a = std.mem.indexOfScalar(u8, a, '.') orelse a.len;
    const before_b = std.mem.indexOfScalar(u8, b, '.') orelse b.len;
    return if (before_a != before_b) before_a < before_b else std.mem.lessThan(u8, a, b);
}

fn isLessBinary(one: []const u8, other: []const u8) bool {
    for (0..@min(one.len, other.len)) |place| {
        // Padding comes before every digit.
        const a = if (values.sextet(one[place])) |digit| digit + 1 else 0;
        const b = if (values.sextet(other[place])) |digit| digit + 1 else 0;
        if (a != b) return a < b;
    }
    return one.len < other.len;
}
