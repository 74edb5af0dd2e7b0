const std = @import("std");
const names_of = @import("../src/names.zig");
const scanner = @import("../src/scanner.zig");
const Arena = @import("../src/arena.zig").Arena;
const Names = names_of.Names;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;

const Fixture = struct {
    pool: std.heap.ArenaAllocator,
    names: Names,
    spare: Arena,

    fn init(f: *Fixture) void {
        f.pool = .init(std.testing.allocator);
        f.names = .init(std.testing.allocator, f.pool.allocator(), 7);
        f.spare = .{ .gpa = std.testing.allocator };
    }

    fn deinit(f: *Fixture) void {
        f.names.deinit();
        f.pool.deinit();
        f.spare.raw.destroy(std.testing.allocator);
    }

    fn read(f: *Fixture, json: []const u8, guess: u32) !?u32 {
        var s = scanner.Scanner{ .bytes = json };
        var unknown: names_of.Unknown = .{};
        const found = try f.names.read(&s, guess, &f.spare, &unknown);
        return found orelse try f.names.addUnknown(unknown);
    }
};

test "names are found by their text, however they are spelled and whatever was expected" {
    var f: Fixture = undefined;
    f.init();
    defer f.deinit();
    const texts = [_][]const u8{ "a", "ab", "A", "", "q\"uo\\te\x01", "a name that is longer than one vector of bytes", "😀" };
    for (texts, 0..) |text, number| try expectEqual(number, try f.names.add(text));
    const spelled = [_][]const u8{
        "\"a\":", "\"ab\":", "\"A\":", "\"\":", "\"q\\\"uo\\\\te\\u0001\":", "\"a name that is longer than one vector of bytes\":",
        "\"😀\":",
    };
    const padding: [64]u8 = @splat(' ');
    for (0..8) |guess| for (spelled, 0..) |json, number| {
        try expectEqual(@as(u32, @intCast(number)), try f.read(json, @intCast(guess)));
        var padded: [128]u8 = undefined;
        @memcpy(padded[0..json.len], json);
        @memcpy(padded[json.len..][0..64], &padding);
        try expectEqual(@as(u32, @intCast(number)), try f.read(padded[0 .. json.len + 64], @intCast(guess)));
    };
    try expectEqual(0, try f.read("\"\\u0061\":", 3));
    try expectEqual(6, try f.read("\"\\ud83d\\ude00\":", 3));
}

test "names that nobody expected are added once" {
    var f: Fixture = undefined;
    f.init();
    defer f.deinit();
    var json: [32]u8 = undefined;
    for (0..2) |_| for (0..3000) |number| {
        const text = try std.fmt.bufPrint(&json, "\"n{d}\":", .{number});
        // What `read` adds is kept where it stands, as an event is; here it is another place each time.
        const kept = try f.pool.allocator().dupe(u8, text);
        try expectEqual(@as(u32, @intCast(number)), try f.read(kept, 0));
    };
    try expectEqual(3000, f.names.list.items.len);
    try expectEqual(3000, try f.read("\"new\\n\":", 0));
    try expectEqualStrings("new\n", f.names.list.items[3000].text);
}
