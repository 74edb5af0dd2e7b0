const std = @import("std");
const times = @import("../src/times.zig");
const Arena = @import("../src/arena.zig").Arena;
const expectEqualStrings = std.testing.expectEqualStrings;
const expectError = std.testing.expectError;

fn expectMoment(expected: []const u8, text: []const u8) !void {
    var out = Arena{ .gpa = std.testing.allocator };
    defer out.raw.destroy(std.testing.allocator);
    switch (try times.read(text)) {
        .as_it_is => {
            try out.write(text[0..19]);
            out.written()[10] = ' ';
        },
        .moment => |moment| try moment.write(&out, false),
    }
    try expectEqualStrings(expected, out.written());
}

test "moments are written in UTC" {
    try expectMoment("2026-01-31 23:59:59", "2026-01-31T23:59:59");
    try expectMoment("2026-01-31 23:59:59", "2026-01-31 23:59:59Z");
    try expectMoment("2026-01-31 00:00:00", "2026-01-31");
    try expectMoment("2026-01-31 10:30:00", "2026-01-31T10:30z");
    try expectMoment("2026-01-31 22:29:59.120000", "2026-01-31T23:59:59.12+01:30");
    try expectMoment("2026-02-01 00:59:59", "2026-01-31T23:59:59-01");
    try expectMoment("2026-02-01 01:29:59.000001", "2026-01-31T23:59:59,000001000-0130");
    try expectMoment("2024-02-29 00:00:00", "2024-02-29T00:00:00.000");
    try expectMoment("0001-01-01 00:00:00", "0001-01-01T01:00:00+01:00");
    try expectMoment("9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999");
    try expectMoment("1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999");
}

test "what is no moment is odd" {
    const odd = [_][]const u8{
        "",                            "2026-02-29",            "2026-13-01",               "2026-00-01",            "2026-01-32",                "0000-01-01",
        "2026-1-01",                   "2026-01-01T24:00:00",   "2026-01-01T10",            "2026-01-01T10:60",      "2026-01-01T10:00:60",       "2026-01-01T10:00:00.",
        "2026-01-01T10:00:00.1234567", "2026-01-01T10:00:00+1", "2026-01-01T10:00:00+01:0", "2026-01-01T10:00:00ZZ", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
        "20260101",                    "2026-01-01x",           "1900-02-29",
    };
    for (odd) |text| try expectError(error.Odd, times.read(text));
}

test "days stand as they are" {
    try times.checkDay("2024-02-29");
    for ([_][]const u8{ "2023-02-29", "2024-02-29T", "0000-01-01", "2024-2-29", "" }) |text| try expectError(error.Odd, times.checkDay(text));
}

fn expectTime(expected: []const u8, text: []const u8, zoned: bool) !void {
    var out = Arena{ .gpa = std.testing.allocator };
    defer out.raw.destroy(std.testing.allocator);
    try times.writeTimeOfDay(text, &out, zoned);
    try expectEqualStrings(expected, out.written());
}

test "times of day have seconds, and their offset where there is one" {
    try expectTime("10:00:00", "10:00", false);
    try expectTime("23:59:59.120000", "23:59:59.12", false);
    try expectTime("10:00:00+00", "10:00Z", true);
    try expectTime("10:00:00+00", "10:00:00-00:00", true);
    try expectTime("10:00:00.500000-08", "10:00:00,5-08:00", true);
    try expectTime("10:00:00+05:30", "10:00:00+0530", true);
    var out = Arena{ .gpa = std.testing.allocator };
    defer out.raw.destroy(std.testing.allocator);
    for ([_][]const u8{ "", "10", "24:00", "10:60", "10:00:60", "10:00:00.1234567", "10:00Z" }) |text| {
        try expectError(error.Odd, times.writeTimeOfDay(text, &out, false));
    }
    for ([_][]const u8{ "10:00+15", "10:00+1", "10:00+01:60", "10:00 Z" }) |text| {
        try expectError(error.Odd, times.writeTimeOfDay(text, &out, true));
    }
}

test "moments outside the years 1 to 9999 are odd" {
    _ = try times.Moment.of(-62_135_596_800_000_000);
    try expectError(error.Odd, times.Moment.of(-62_135_596_800_000_001));
    _ = try times.Moment.of(253_402_300_799_999_999);
    try expectError(error.Odd, times.Moment.of(253_402_300_800_000_000));
}
