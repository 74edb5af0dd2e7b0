const std = @import("std");
const repeat = @import("repeat.zig").repeat;
const scanner = @import("../src/scanner.zig");
const strings = @import("../src/strings.zig");
const Arena = @import("../src/arena.zig").Arena;
const Scanner = scanner.Scanner;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;
const expectEqualStrings = std.testing.expectEqualStrings;

/// A string that begins at a place and is as long as that, with more behind it, so that vectors and single bytes both read it.
fn expectString(content: []const u8, escaped: bool) !void {
    var buffer: [512]u8 = undefined;
    for ([_]usize{ 0, 40 }) |before| for ([_]usize{ 0, 1, 70 }) |behind| {
        @memset(&buffer, ' ');
        buffer[before] = '"';
        @memcpy(buffer[before + 1 ..][0..content.len], content);
        buffer[before + 1 + content.len] = '"';
        var s = Scanner{ .bytes = buffer[0 .. before + 2 + content.len + behind], .at = before + 1 };
        const text = try s.string();
        try expectEqualStrings(content, s.slice(text));
        try expectEqual(escaped, text.escaped);
        try expectEqual(before + 2 + content.len, s.at);
    };
}

fn expectFault(fault: scanner.Fault, content: []const u8) !void {
    var buffer: [512]u8 = undefined;
    for ([_]usize{ 0, 40 }) |before| for ([_]usize{ 0, 70 }) |behind| {
        @memset(&buffer, ' ');
        @memcpy(buffer[before..][0..content.len], content);
        var s = Scanner{ .bytes = buffer[0 .. before + content.len + behind], .at = before };
        try expectError(fault, s.string());
    };
}

test "strings end at the quote that is not escaped, wherever they stand" {
    for (0..80) |length| {
        const letters: [80]u8 = @splat('a');
        try expectString(letters[0..length], false);
    }
    try expectString("a\\\"b\\\\", true);
    try expectString(repeat("a", 31) ++ "\\\"" ++ repeat("b", 31), true);
    try expectString("\\u00e9\\/\\b\\f\\n\\r\\t", true);
    try expectString(repeat("a", 29) ++ "東京" ++ repeat("b", 10), false);
    try expectString(repeat("\u{10ffff}", 9), false);
}

test "no string has control characters, other escapes or no end" {
    for (0..0x20) |c| try expectFault(error.Broken, &.{ 'a', @intCast(c), '"' });
    for ([_][]const u8{ "\\x\"", "\\u12\"", "\\u12g4\"", "\\", "abc", repeat("a", 31) ++ "\\" }) |text| {
        var s = Scanner{ .bytes = text };
        try expectError(error.Broken, s.string());
    }
}

test "text that is no UTF-8 is odd" {
    const wrong = [_][]const u8{
        "\xff",         "\x80",                 "\xc3", "\xc0\xaf", "\xe6\x9d", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x8f\xbf\xbf", "\xe0\x9f\xbf",
        "\xc3\xa9\xa9", "\xf0\x9f\x98\xc3\xa9",
    };
    for (wrong) |bytes| for ([_]usize{ 0, 1, 30, 31, 32 }) |before| {
        var content: [64]u8 = @splat('a');
        @memcpy(content[before..][0..bytes.len], bytes);
        content[before + bytes.len] = '"';
        try expectFault(error.Odd, content[0 .. before + bytes.len + 1]);
    };
}

test "any JSON value is passed over, and nothing else" {
    const good = [_][]const u8{
        "{}", "[]", "[[]]", "{\"a\":[1,-2.5e+3,0,true,false,null,\"\\\"\"],\"b\":{\"c\":{}}}", "0.5", "-0", "1E9", "[{},[],{\"\":0}]",
    };
    for (good) |text| {
        var s = Scanner{ .bytes = text };
        try s.skip(0);
        try expectEqual(text.len, s.at);
    }
    const broken = [_][]const u8{
        "", "{", "[", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "[1 ,2]", "[1}", "{\"a\":1]", "tru", "nul", "-", "1.", "1e", "+1", "NaN", "'a'",
    };
    for (broken) |text| {
        var s = Scanner{ .bytes = text };
        try expectError(error.Broken, s.skip(0));
    }
}

test "depth is bounded" {
    const deep = repeat("[", 100) ++ repeat("]", 100);
    var s = Scanner{ .bytes = deep };
    try s.skip(0);
    s.at = 0;
    try expectError(error.Odd, s.skip(1));
    s = .{ .bytes = repeat("[", 5000) ++ repeat("]", 5000) };
    try expectError(error.Broken, s.skip(0));
    s = .{ .bytes = repeat("{\"a\":", 4097) };
    try expectError(error.Broken, s.skip(0));
}

fn expectCompact(expected: ?[]const u8, text: []const u8) !void {
    var out: [256]u8 = undefined;
    const length = scanner.compact(text, out[0..text.len]) catch |fault| {
        try expectEqual(error.Broken, fault);
        return expect(expected == null);
    };
    try expectEqualStrings(expected.?, out[0..length]);
}

test "blanks between tokens go, and join nothing" {
    try expectCompact("{\"a b\":[1,true]}", " { \"a b\" :\t[ 1 ,\r\n true ] } \n");
    try expectCompact("\"a \\\" b\"", " \"a \\\" b\" ");
    try expectCompact(null, "[1 2]");
    try expectCompact(null, "tr ue");
    try expectCompact(null, "- 1");
    try expectCompact(null, " \"no end");
    try expectCompact("\"a\"1", "\"a\" 1");
}

test "escapes stand for what JSON says" {
    var out = Arena{ .gpa = std.testing.allocator };
    defer out.raw.destroy(std.testing.allocator);
    try strings.unescape(&out, "a\\u00e9\\ud83d\\ude00\\n\\/\\\\\\\"z");
    try expectEqualStrings("aé😀\n/\\\"z", out.written());
    for ([_][]const u8{ "\\u0000", "\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud800x", "\\ud83d\\ud83d" }) |text| {
        try expectError(error.Odd, strings.unescape(&out, text));
    }
}

test "texts are written as orjson writes them" {
    var out = Arena{ .gpa = std.testing.allocator };
    defer out.raw.destroy(std.testing.allocator);
    try expectEqual(9, try strings.writeJson(&out, "\\u0001\\u001f\\/\\u00e9\\b\\\"\\u007f\\u0041"));
    try expectEqualStrings("\"\\u0001\\u001f/é\\b\\\"\x7fA\"", out.written());
    out.used = 0;
    try strings.writeTextAsJson(&out, "q\"uo\\te\x01\n😀");
    try expectEqualStrings("\"q\\\"uo\\\\te\\u0001\\n😀\"", out.written());
}

test "a key's own separators are kept apart" {
    var out = Arena{ .gpa = std.testing.allocator };
    defer out.raw.destroy(std.testing.allocator);
    try out.write("S=a;b\\c");
    try strings.escapeKey(&out, 2);
    try expectEqualStrings("S=a\\;b\\\\c", out.written());
}
