//! Strings of JSON without their escapes, and texts as JSON again. What Redshift cannot hold, NUL and lone surrogates, is odd.
const std = @import("std");
const Arena = @import("arena.zig").Arena;
const Fault = @import("scanner.zig").Fault;

/// Writes a string's text: what its escapes stand for.
pub fn unescape(out: *Arena, string: []const u8) Fault!void {
    // No escape stands for more bytes than it has.
    try out.reserve(string.len);
    var rest = string;
    while (std.mem.indexOfScalar(u8, rest, '\\')) |run| {
        try out.write(rest[0..run]);
        rest = rest[run..];
        const escape = try readEscape(rest);
        try writeCharacter(out, escape.character);
        rest = rest[escape.length..];
    }
    try out.write(rest);
}

/// Writes a string as orjson writes its text, quotes included; gives how many bytes of UTF-8 the text has.
pub fn writeJson(out: *Arena, string: []const u8) Fault!usize {
    try out.reserve(string.len + 2);
    try out.writeByte('"');
    var bytes: usize = 0;
    var rest = string;
    while (std.mem.indexOfScalar(u8, rest, '\\')) |run| {
        try out.write(rest[0..run]);
        rest = rest[run..];
        const escape = try readEscape(rest);
        try writeJsonCharacter(out, escape.character);
        bytes += run + (std.unicode.utf8CodepointSequenceLength(escape.character) catch return error.Odd);
        rest = rest[escape.length..];
    }
    try out.write(rest);
    try out.writeByte('"');
    return bytes + rest.len;
}

const Escape = struct { character: u21, length: usize };

/// Reads what stands behind a backslash.
fn readEscape(rest: []const u8) Fault!Escape {
    if (rest.len < 2) return error.Odd;
    const simple: u21 = switch (rest[1]) {
        'b' => 8,
        'f' => 12,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return readUnicode(rest),
        else => |c| c,
    };
    return .{ .character = simple, .length = 2 };
}

fn readUnicode(rest: []const u8) Fault!Escape {
    const first = try readHex(rest);
    switch (first) {
        0, 0xdc00...0xdfff => return error.Odd,
        0xd800...0xdbff => {
            const second = try readHex(rest[6..]);
            if (second < 0xdc00 or second > 0xdfff) return error.Odd;
            return .{ .character = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), .length = 12 };
        },
        else => return .{ .character = first, .length = 6 },
    }
}

fn readHex(rest: []const u8) Fault!u21 {
    if (rest.len < 6 or rest[0] != '\\' or rest[1] != 'u') return error.Odd;
    var code: u21 = 0;
    for (rest[2..6]) |c| {
        const digit = std.fmt.charToDigit(c, 16) catch return error.Odd;
        code = code << 4 | digit;
    }
    return code;
}

fn writeCharacter(out: *Arena, character: u21) Fault!void {
    var bytes: [4]u8 = undefined;
    const length = std.unicode.utf8Encode(character, &bytes) catch return error.Odd;
    try out.write(bytes[0..length]);
}

fn writeJsonCharacter(out: *Arena, character: u21) Fault!void {
    switch (character) {
        '"' => try out.write("\\\""),
        '\\' => try out.write("\\\\"),
        8 => try out.write("\\b"),
        12 => try out.write("\\f"),
        '\n' => try out.write("\\n"),
        '\r' => try out.write("\\r"),
        '\t' => try out.write("\\t"),
        else => if (character < 0x20) {
            const digits = "0123456789abcdef";
            try out.write(&.{ '\\', 'u', '0', '0', '0' + @as(u8, @intCast(character >> 4)), digits[character & 15] });
        } else try writeCharacter(out, character),
    }
}

/// Writes a text as orjson writes it, quotes included.
pub fn writeTextAsJson(out: *Arena, text: []const u8) Fault!void {
    try out.writeByte('"');
    var start: usize = 0;
    for (text, 0..) |c, at| if (c < 0x20 or c == '"' or c == '\\') {
        try out.write(text[start..at]);
        try writeJsonCharacter(out, c);
        start = at + 1;
    };
    try out.write(text[start..]);
    try out.writeByte('"');
}

/// Keeps a key attribute's own separators, from `start` on, apart from the key's: a backslash before each.
pub fn escapeKey(out: *Arena, start: usize) Fault!void {
    var more: usize = 0;
    for (out.since(start)) |c| more += @intFromBool(c == ';' or c == '\\');
    if (more == 0) return;
    try out.reserve(more);
    const bytes = out.raw.bytes;
    var from = out.used;
    out.used += more;
    var to = out.used;
    while (from > start) {
        from -= 1;
        to -= 1;
        const c = bytes[from];
        bytes[to] = c;
        if (c == ';' or c == '\\') {
            to -= 1;
            bytes[to] = '\\';
        }
    }
}
