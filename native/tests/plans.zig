//! Plans with columns of every kind, for tests and for the fuzzer.
const std = @import("std");
const plans = @import("../src/plan.zig");
const Bytes = plans.Bytes;
const Column = plans.Column;
const Step = plans.Step;
const Plan = plans.Plan;

pub fn bytesOf(text: []const u8) Bytes {
    return .{ .ptr = text.ptr, .len = text.len };
}

fn name(comptime text: []const u8) Step {
    return .{ .name = .{ .ptr = text.ptr, .len = text.len }, .position = 0 };
}

fn position(comptime number: u64) Step {
    return .{ .name = .{ .ptr = null, .len = 0 }, .position = number };
}

fn column(comptime path: []const Step, kind: plans.Kind, length: u32, precision: u32, scale: u32) Column {
    return .{ .path = path.ptr, .steps = path.len, .kind = kind, .length = length, .precision = precision, .scale = scale };
}

pub const columns = [_]Column{
    column(&.{name("text")}, .varchar, 20, 0, 0),
    column(&.{name("text")}, .varchar, 64, 0, 0),
    column(&.{name("short")}, .char, 5, 0, 0),
    column(&.{name("small")}, .integer, 15, 0, 0),
    column(&.{name("middle")}, .integer, 31, 0, 0),
    column(&.{name("whole")}, .integer, 63, 0, 0),
    column(&.{name("amount")}, .decimal, 0, 18, 2),
    column(&.{name("cents")}, .decimal, 0, 19, 4),
    column(&.{name("most")}, .decimal, 0, 38, 0),
    column(&.{name("part")}, .decimal, 0, 6, 6),
    column(&.{name("real")}, .real, 0, 0, 0),
    column(&.{name("double")}, .double, 0, 0, 0),
    column(&.{name("flag")}, .boolean, 0, 0, 0),
    column(&.{name("blob")}, .varbyte, 8, 0, 0),
    column(&.{name("day")}, .date, 0, 0, 0),
    column(&.{name("at")}, .timestamp, 0, 0, 0),
    column(&.{name("zoned")}, .timestamptz, 0, 0, 0),
    column(&.{name("opens")}, .time, 0, 0, 0),
    column(&.{name("closes")}, .timetz, 0, 0, 0),
    column(&.{name("since_day")}, .epoch_date, 1_000_000, 0, 0),
    column(&.{name("since")}, .epoch_timestamp, 1_000_000, 0, 0),
    column(&.{name("since_ms")}, .epoch_timestamptz, 1_000, 0, 0),
    column(&.{name("since_us")}, .epoch_timestamp, 1, 0, 0),
    column(&.{name("any")}, .super, 0, 0, 0),
    column(&.{name("q\"uo\\te\x01")}, .varchar, 40, 0, 0),
    column(&.{name("\u{1f600}")}, .integer, 63, 0, 0),
    column(&.{ name("nested"), name("x") }, .integer, 31, 0, 0),
    column(&.{ name("nested"), name("y"), name("x") }, .varchar, 9, 0, 0),
    column(&.{name("nested")}, .super, 0, 0, 0),
    column(&.{ name("list"), position(0) }, .varchar, 9, 0, 0),
    column(&.{ name("list"), position(2), name("y"), position(0) }, .decimal, 0, 9, 2),
    column(&.{ name("list"), position(1) }, .super, 0, 0, 0),
    column(&.{name("id")}, .varchar, 40, 0, 0),
};

pub const Choice = struct {
    keys: []const []const u8 = &.{"id"},
    undeclared: plans.Undeclared = .ignore,
    old_images: plans.OldImages = .ignored,
    null_marker: []const u8 = "\\N",
    columns: []const Column = &columns,
};

pub fn build(gpa: std.mem.Allocator, choice: Choice) !*Plan {
    var keys: [2]Bytes = undefined;
    for (choice.keys, 0..) |key, number| keys[number] = bytesOf(key);
    return Plan.create(gpa, .{
        .keys = keys[0..choice.keys.len],
        .columns = choice.columns,
        .null_marker = choice.null_marker,
        .undeclared = choice.undeclared,
        .old_images = choice.old_images,
    });
}
