const std = @import("std");
const repeat = @import("repeat.zig").repeat;
const arenas = @import("../src/arena.zig");
const arrow = @import("../src/arrow.zig");
const checks = @import("check.zig");
const csv_checks = @import("csv.zig");
const decode = @import("../src/decode.zig").decode;
const events = @import("events.zig");
const lines = @import("../src/lines.zig");
const pass_of = @import("../src/pass.zig");
const plans = @import("plans.zig");
const rows_of = @import("../src/rows.zig");
const gpa = std.testing.allocator;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;

const starts = [_]pass_of.VersionStart{.{ .from = -std.math.inf(f64), .prefix = plans.bytesOf("0000#label#") }};

const Run = struct {
    plan: *@import("../src/plan.zig").Plan,
    spare: arenas.Spare = .{},
    rows: *rows_of.Rows,

    fn init(choice: plans.Choice, event: []const u8, source: ?*const lines.Export) !Run {
        var run = Run{ .plan = try plans.build(gpa, choice), .rows = undefined };
        run.rows = try decode(gpa, &run.spare, run.plan, event, events.arn, &starts, source);
        return run;
    }

    fn deinit(run: *Run) !void {
        try expect(run.rows.free(&run.spare));
        run.spare.empty(gpa);
        run.plan.destroy();
    }

    fn expectText(run: *Run, column: usize, row: usize, expected: ?[]const u8) !void {
        const table = &run.rows.table;
        if (table.isNull(column, row)) return expect(expected == null);
        const view = table.columnViews(column)[row];
        const bytes: [16]u8 = @bitCast(view);
        const text = if (view.length <= 12) bytes[4 .. 4 + view.length] else if (view.buffer == 0)
            run.rows.event[view.offset..][0..view.length]
        else
            run.rows.arena.written()[view.offset..][0..view.length];
        try expectEqualStrings(expected.?, text);
    }
};

fn record(comptime number: []const u8, comptime image: []const u8) []const u8 {
    return "{\"eventID\":\"e" ++ number ++ "\",\"eventName\":\"INSERT\",\"dynamodb\":{\"ApproximateCreationDateTime\":1767225600,\"Keys\":{\"id\":{\"N\":\"" ++
        number ++ "\"}},\"SequenceNumber\":\"10" ++ number ++ "\",\"NewImage\":{\"id\":{\"N\":\"" ++ number ++ "\"}" ++ image ++
        "}},\"eventSourceARN\":\"" ++ events.arn ++ "\"}";
}

fn eventOf(comptime records: []const u8) []const u8 {
    return "{\"Records\":[" ++ records ++ "]}";
}

test "records become rows, and what is odd is left by its place" {
    const text = comptime eventOf(record("1", ",\"text\":{\"S\":\"longer than a view\"}") ++ "," ++ record("2", ",\"small\":{\"S\":\"x\"}") ++ "," ++ record("3", ""));
    var run = try Run.init(.{}, text, null);
    try expectEqual(rows_of.Status.good, run.rows.result.status);
    try expectEqual(3, run.rows.result.received);
    try expectEqual(2, run.rows.result.rows);
    try expectEqual(1, run.rows.left.items[0].position);
    const left = run.rows.left.items[0];
    try expectEqualStrings(comptime record("2", ",\"small\":{\"S\":\"x\"}"), text[left.start..left.end]);
    try run.expectText(0, 0, "N=1;");
    try run.expectText(1, 0, "0000#label#" ++ repeat("0", 37) ++ "101");
    try run.expectText(2, 0, "INSERT");
    try run.expectText(4, 0, "2026-01-01 00:00:00.000000");
    try run.expectText(5, 1, "false");
    try run.expectText(6, 0, "longer than a view");
    try run.expectText(6, 1, null);
    try expectEqualStrings("\ne1\ne3", run.rows.ids.items);
    _ = try checks.check(run.rows);
    try run.deinit();
}

test "a row that is given up leaves no trace in the next" {
    const text = comptime eventOf(record("1", ",\"text\":{\"NULL\":true},\"any\":{\"S\":\"written\"},\"small\":{\"S\":\"x\"},\"stray\":{\"N\":\"1\"}") ++ "," ++
        record("2", ",\"text\":{\"S\":\"here\"}"));
    var run = try Run.init(.{}, text, null);
    try expectEqual(1, run.rows.result.rows);
    try run.expectText(6, 0, "here");
    try expectEqual(0, run.rows.result.ignored_count);
    _ = try checks.check(run.rows);
    try run.deinit();
}

test "rows outlive the plan, and are freed when the last array is dropped" {
    const text = comptime eventOf(record("1", ",\"text\":{\"S\":\"longer than a view\"}"));
    const plan = try plans.build(gpa, .{});
    var spare = arenas.Spare{};
    const rows = try decode(gpa, &spare, plan, text, events.arn, &starts, null);
    plan.destroy();
    var array: arrow.Array = undefined;
    var schema: arrow.Schema = undefined;
    try arrow.describe(rows, "file", &array, &schema);
    try expect(!rows.free(&spare));
    schema.release.?(&schema);
    try expect(!rows.free(&spare));
    array.release.?(&array);
    try expect(rows.free(&spare));
    spare.empty(gpa);
}

test "many rows of very different sizes find room" {
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    try text.appendSlice(gpa, "{\"Records\":[");
    const long: [3000]u8 = @splat('x');
    for (0..3000) |number| {
        if (number > 0) try text.append(gpa, ',');
        const one = comptime record("1", ",\"stray\":{\"S\":\"");
        try text.appendSlice(gpa, one[0 .. std.mem.indexOf(u8, one, "stray").? + 13]);
        if (number == 0) try text.appendSlice(gpa, &long);
        try text.appendSlice(gpa, one[std.mem.indexOf(u8, one, "stray").? + 13 ..]);
    }
    try text.appendSlice(gpa, "]}");
    var run = try Run.init(.{}, text.items, null);
    // The made-up text above is no JSON of a whole record: what matters is that nothing is read or written beside.
    if (run.rows.result.status == .good) _ = try checks.check(run.rows);
    try run.deinit();
}

test "lines of an export are the rows of their items" {
    const source = lines.Export{
        .id_prefix = plans.bytesOf("file"),
        .first_line = 7,
        .seconds = plans.bytesOf("1767225600"),
        .incremental = 0,
    };
    const text = "{\"Item\":{\"id\":{\"N\":\"1.0\"},\"text\":{\"S\":\"a\"}}}\nbroken\n{\"Item\":{\"id\":{\"N\":\"2\"}}}";
    var run = try Run.init(.{}, text, &source);
    try expectEqual(3, run.rows.result.received);
    try expectEqual(2, run.rows.result.rows);
    try run.expectText(0, 0, "N=1;");
    try run.expectText(3, 1, "file:9");
    try expectEqualStrings("broken", text[run.rows.left.items[0].start..run.rows.left.items[0].end]);
    _ = try checks.check(run.rows);
    try run.deinit();
}

test "memory that runs out is an error, and all of it is given back" {
    const text = comptime eventOf(record("1", ",\"text\":{\"S\":\"with \\\"escapes\\\" in it\"},\"any\":{\"SS\":[\"b\",\"a\"]},\"s\\tray\":{\"M\":{}}") ++ "," ++
        record("2", ",\"small\":{\"S\":\"x\"}"));
    try std.testing.checkAllAllocationFailures(gpa, decodeOnce, .{text});
}

fn decodeOnce(failing: std.mem.Allocator, text: []const u8) !void {
    const plan = try plans.build(failing, .{ .undeclared = .extra });
    defer plan.destroy();
    var spare = arenas.Spare{};
    defer spare.empty(failing);
    const rows = try decode(failing, &spare, plan, text, events.arn, &starts, null);
    const status = rows.result.status;
    if (status == .good) {
        _ = checks.check(rows) catch |failure| {
            _ = rows.free(&spare);
            return failure;
        };
    }
    try expect(rows.free(&spare));
    if (status == .no_memory) return error.OutOfMemory;
}

test "rows are the same CSV whatever the buffer" {
    const text = comptime eventOf(record("1", ",\"text\":{\"S\":\"with, a comma\"},\"short\":{\"S\":\"\"}") ++ "," ++
        record("2", ",\"text\":{\"S\":\"a \\\"quote\\\"\"},\"stray\":{\"S\":\"x\"}"));
    var run = try Run.init(.{ .undeclared = .extra }, text, null);
    try expectEqual(2, run.rows.result.rows);
    for ([_]u8{ ',', '|' }) |delimiter| {
        const whole = try csv_checks.check(gpa, run.rows, delimiter, 100_000);
        for ([_]usize{ 1, 400, 1300 }) |size| try expectEqual(whole, try csv_checks.check(gpa, run.rows, delimiter, size));
    }
    try run.deinit();
}
