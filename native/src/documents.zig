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

fn writeMap(p: *Pass, out: *Arena, depth: u32) Fault!void {
    const first = p.map_names.items.len;
    try out.writeByte('{');
    if (!p.in.take("}")) while (true) {
        if (!p.in.take("\"")) return error.Broken;
        const name = try p.in.string();
        try noteName(p, first, name);
        try writeText(p, out, name);
        if (!p.in.take(":")) return error.Broken;
        try out.writeByte(':');
        try write(p, out, depth + 2);
        if (p.in.take(",")) {
            try out.writeByte(',');
            continue;
        }
        if (p.in.take("}")) break;
        return error.Broken;
    };
    try out.writeByte('}');
    try checkNames(p, first);
    p.map_names.shrinkRetainingCapacity(first);
    return p.in.close();
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

/// Names up to here are compared as they come; more are sorted first.
const few_names = 16;

/// Writes down the name of a map's member: of two that are the same, JSON's readers take the last.
fn noteName(p: *Pass, first: usize, name: Text) Fault!void {
    const mark = p.spare.used;
    const number = toNumber(p, try p.plainText(name));
    p.spare.used = mark;
    const others = p.map_names.items[first..];
    if (others.len < few_names) for (others) |other| if (other == number) return error.Odd;
    try p.map_names.append(p.gpa, number);
}

fn checkNames(p: *Pass, first: usize) Fault!void {
    const those = p.map_names.items[first..];
    if (those.len <= few_names) return;
    std.mem.sortUnstable(u64, those, {}, std.sort.asc(u64));
    for (those[0 .. those.len - 1], those[1..]) |one, next| if (one == next) return error.Odd;
}

/// A short name itself, a hash of a longer one: two that are not the same may have one number, but rarely, and are left then.
fn toNumber(p: *const Pass, name: []const u8) u64 {
    if (name.len > 7) return std.hash.Wyhash.hash(p.plan.attributes.seed, name) | 1 << 63;
    var bytes: [8]u8 = @splat(0);
    @memcpy(bytes[0..name.len], name);
    bytes[7] = @intCast(name.len);
    return @bitCast(bytes);
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
