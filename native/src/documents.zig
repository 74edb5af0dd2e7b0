//! DynamoDB's documents as the JSON that SUPER takes: `{"M":{"a":{"N":"1.50"}}}` becomes `{"a":1.5}`.
const std = @import("std");
const numbers = @import("numbers.zig");
const scanner = @import("scanner.zig");
const sets = @import("sets.zig");
const strings = @import("strings.zig");
const values = @import("values.zig");
const Arena = @import("arena.zig").Arena;
const Fault = scanner.Fault;
const Pass = @import("pass.zig").Pass;
const Text = scanner.Text;

/// Bytes of a text inside SUPER: those of the longest VARCHAR.
pub const max_text_bytes = 65_535;

/// Writes the value at hand, around which there are `depth` levels of JSON.
pub fn write(p: *Pass, out: *Arena, depth: u32) Fault!void {
    if (depth > scanner.max_depth) return error.Odd;
    const in = &p.in;
    if (in.take("{\"S\":\"")) {
        try writeText(p, out, try in.string());
        return in.close();
    }
    if (in.take("{\"N\":\"")) {
        try numbers.read(in, &p.number, &p.number_spare);
        if (!numbers.fitsSuper(&p.number)) return error.Odd;
        try out.write(p.number.plain);
        return in.close();
    }
    if (in.take("{\"M\":{")) return writeMap(p, out, depth);
    if (in.take("{\"L\":[")) return writeList(p, out, depth);
    if (in.take("{\"BOOL\":true}")) return out.write("true");
    if (in.take("{\"BOOL\":false}")) return out.write("false");
    if (in.take("{\"NULL\":true}")) return out.write("null");
    if (in.take("{\"B\":\"")) return writeBinary(p, out);
    if (in.take("{\"SS\":[")) return sets.write(p, out, .texts);
    if (in.take("{\"NS\":[")) return sets.write(p, out, .numbers);
    if (in.take("{\"BS\":[")) return sets.write(p, out, .binaries);
    return error.Odd;
}

const few_members = 16;

/// A map's member: where its name stands, in the event or in `spare`, and where what is written of it does.
pub const Member = struct {
    /// The name's first bytes, by which most names differ.
    prefix: u64,
    name: u32,
    name_end: u32,
    in_spare: bool,
    start: u32,
    end: u32 = 0,
};

/// DynamoDB gives a map's members in any order, and the same map is to be the same text: they are sorted by name.
fn writeMap(p: *Pass, out: *Arena, depth: u32) Fault!void {
    const first = p.members.items.len;
    const mark = p.spare.used;
    var is_sorted = true;
    try out.writeByte('{');
    if (!p.in.take("}")) while (true) {
        if (!p.in.take("\"")) return error.Broken;
        const member = try readName(p, out);
        if (p.members.items.len > first) is_sorted = is_sorted and isBefore(p, p.members.getLast(), member);
        const place = p.members.items.len;
        try p.members.append(p.gpa, member);
        if (!p.in.take(":")) return error.Broken;
        try out.writeByte(':');
        try write(p, out, depth + 2);
        p.members.items[place].end = @intCast(out.used);
        if (p.in.take(",")) {
            try out.writeByte(',');
            continue;
        }
        if (p.in.take("}")) break;
        return error.Broken;
    };
    if (!is_sorted) try sortMembers(p, out, p.members.items[first..]);
    try out.writeByte('}');
    p.members.shrinkRetainingCapacity(first);
    p.spare.used = mark;
    return p.in.close();
}

fn readName(p: *Pass, out: *Arena) Fault!Member {
    const string = try p.in.string();
    var from, var to, var bytes = .{ string.start, string.end, p.in.bytes };
    if (string.escaped) {
        from = p.spare.used;
        _ = try p.plainText(string);
        to = p.spare.used;
        try p.spare.reserve(8);
        bytes = p.spare.raw.bytes;
    }
    const start = out.used;
    try writeText(p, out, string);
    return .{
        .prefix = prefixOf(bytes, from, to - from),
        .name = @intCast(from),
        .name_end = @intCast(to),
        .in_spare = string.escaped,
        .start = @intCast(start),
    };
}

/// The first bytes of a name, as a number that sorts as they do. Behind a name in an event there is always more.
inline fn prefixOf(bytes: []const u8, start: usize, length: usize) u64 {
    if (length == 0 or start + 8 > bytes.len) return 0;
    const unused: u6 = @intCast(64 - 8 * @as(usize, @min(length, 8)));
    return std.mem.readInt(u64, bytes[start..][0..8], .big) >> unused << unused;
}

/// Brings what is written of a map's members into the order of their names; of two with one name JSON's readers take the last.
fn sortMembers(p: *Pass, out: *Arena, members: []Member) Fault!void {
    const begin = members[0].start;
    const copy = p.spare.used;
    try p.spare.write(out.since(begin));
    // Most maps are small, and the general sort has more to do before it begins.
    if (members.len <= few_members)
        std.sort.insertion(Member, members, p, isBefore)
    else
        std.mem.sortUnstable(Member, members, p, isBefore);
    out.used = begin;
    for (members, 0..) |member, place| {
        if (place > 0) {
            if (!isBefore(p, members[place - 1], member)) return error.Odd;
            try out.writeByte(',');
        }
        try out.write(p.spare.raw.bytes[copy + member.start - begin .. copy + member.end - begin]);
    }
}

fn isBefore(p: *const Pass, a: Member, b: Member) bool {
    return if (a.prefix != b.prefix) a.prefix < b.prefix else std.mem.lessThan(u8, nameOf(p, a), nameOf(p, b));
}

fn nameOf(p: *const Pass, member: Member) []const u8 {
    const bytes = if (member.in_spare) p.spare.written() else p.in.bytes;
    return bytes[member.name..member.name_end];
}

fn writeList(p: *Pass, out: *Arena, depth: u32) Fault!void {
    try out.writeByte('[');
    if (!p.in.take("]")) while (true) {
        try write(p, out, depth + 2);
        if (p.in.take(",")) {
            try out.writeByte(',');
            continue;
        }
        if (p.in.take("]")) break;
        return error.Broken;
    };
    try out.writeByte(']');
    return p.in.close();
}

/// Writes a string's text; one without escapes as it is.
pub fn writeText(p: *Pass, out: *Arena, string: Text) Fault!void {
    if (string.escaped) {
        if (try strings.writeJson(out, p.in.slice(string)) > max_text_bytes) return error.Odd;
        return;
    }
    if (string.len() > max_text_bytes) return error.Odd;
    try out.write(p.in.bytes[string.start - 1 .. string.end + 1]);
}

/// Binary values stay base64.
fn writeBinary(p: *Pass, out: *Arena) Fault!void {
    const string = try p.in.string();
    _ = try values.decodedLength(p.in.slice(string));
    try out.write(p.in.bytes[string.start - 1 .. string.end + 1]);
    return p.in.close();
}
