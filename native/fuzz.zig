//! Drives the pass with events, lines of exports and lists of elements that are made up and broken, and looks at every row that comes of them.
//!
//!     fuzz EXECUTIONS SEED
//!
//! Structure-aware: the bytes are made of a grammar of events with the corpus' values, names and tokens in it, and then
//! damaged. The same seed gives the same bytes, and the same line at the end on every processor, with a hash of all texts.
//! A panic, or rows that do not hold together, end it with the bytes.
const std = @import("std");
const builtin = @import("builtin");
const arenas = @import("src/arena.zig");
const checks = @import("tests/check.zig");
const csv_checks = @import("tests/csv.zig");
const decoding = @import("src/decode.zig");
const events = @import("tests/events.zig");
const lines = @import("src/lines.zig");
const pass_of = @import("src/pass.zig");
const plans = @import("tests/plans.zig");
const scanner = @import("src/scanner.zig");

const choices = [_]plans.Choice{
    .{},
    .{ .undeclared = .extra, .old_images = .kept },
    .{ .undeclared = .reject },
    .{ .keys = &.{ "id", "sort" }, .old_images = .needed, .null_marker = "0" },
    .{ .keys = &.{ "sort", "id" }, .undeclared = .extra, .null_marker = "true" },
    .{ .columns = plans.columns[0..1], .undeclared = .extra },
    .{ .columns = plans.columns[28..], .old_images = .kept },
};

const starts = [_]pass_of.VersionStart{
    .{ .from = -std.math.inf(f64), .prefix = plans.bytesOf("0000#2026-01-01T00:00:00.000#") },
    .{ .from = 1_767_225_600, .prefix = plans.bytesOf("0001#2026-01-01T00:00:00.000#") },
};

/// What is being tried; a panic shows it.
var trying: []const u8 = "";

pub const panic = std.debug.FullPanic(show);

fn show(message: []const u8, _: ?usize) noreturn {
    std.debug.print("{s}; bytes: {f}\n", .{ message, std.zig.fmtString(trying) });
    std.process.abort();
}

pub fn main(init: std.process.Init.Minimal) !void {
    var arguments = init.args.iterate();
    _ = arguments.next();
    const executions = try std.fmt.parseInt(u64, arguments.next() orelse "100000", 10);
    const seed = try std.fmt.parseInt(u64, arguments.next() orelse "1", 10);
    // In debug builds every block's allocator, size and end are looked at when it is freed, and what is left at the end.
    var debug: std.heap.DebugAllocator(.{}) = .init;
    const gpa = if (builtin.link_libc) std.heap.c_allocator else if (builtin.mode == .debug) debug.allocator() else std.heap.smp_allocator;
    var fuzzer = try Fuzzer.init(gpa, seed);
    for (0..executions) |_| try fuzzer.step();
    std.debug.print("{d} executions, seed {d}: {d} rows, {d} records left, {d} refused, {x}\n", .{
        executions, seed, fuzzer.rows, fuzzer.left, fuzzer.refused, fuzzer.hash,
    });
    fuzzer.deinit();
    if (debug.deinit() == .leak) return error.Leak;
}

const Kind = enum { event, export_lines, elements };

const Fuzzer = struct {
    gpa: std.mem.Allocator,
    random: std.Random.Xoshiro256,
    buffer: []u8,
    compacted: []u8,
    plans: [choices.len]*@import("src/plan.zig").Plan,
    spare: arenas.Spare = .{},
    rows: u64 = 0,
    left: u64 = 0,
    refused: u64 = 0,
    hash: u64 = 0,

    fn init(gpa: std.mem.Allocator, seed: u64) !Fuzzer {
        var fuzzer = Fuzzer{
            .gpa = gpa,
            .random = .init(seed),
            .buffer = try gpa.alloc(u8, 16 * 1024),
            .compacted = try gpa.alloc(u8, 16 * 1024),
            .plans = undefined,
        };
        for (choices, &fuzzer.plans) |choice, *plan| plan.* = try plans.build(gpa, choice);
        return fuzzer;
    }

    fn deinit(f: *Fuzzer) void {
        for (f.plans) |plan| plan.destroy();
        f.spare.empty(f.gpa);
        f.gpa.free(f.buffer);
        f.gpa.free(f.compacted);
    }

    fn step(f: *Fuzzer) !void {
        const random = f.random.random();
        const number = random.uintLessThan(usize, choices.len);
        const both = choices[number].keys.len == 2;
        var writer = events.Writer{ .buffer = f.buffer };
        const incremental = random.boolean();
        const source = lines.Export{
            .id_prefix = plans.bytesOf("0123456789ab"),
            .first_line = random.int(u32),
            .seconds = plans.bytesOf("1767225600"),
            .incremental = @intFromBool(incremental),
        };
        const kind = random.enumValue(Kind);
        switch (kind) {
            .event => events.addEvent(&writer, random, both),
            .export_lines => events.addLines(&writer, random, incremental, both),
            .elements => events.addElements(&writer, random),
        }
        if (random.uintLessThan(u8, 3) == 0) events.damage(&writer, random);
        // Of just its size, so that whatever reads behind its end is seen.
        const bytes = try f.gpa.dupe(u8, writer.buffer[0..writer.used]);
        defer f.gpa.free(bytes);
        trying = bytes;
        if (try f.run(number, bytes, kind, &source)) return;
        const length = scanner.compact(bytes, f.compacted) catch return;
        _ = try f.run(number, f.compacted[0..length], .event, &source);
    }

    fn run(f: *Fuzzer, number: usize, bytes: []const u8, kind: Kind, source: *const lines.Export) !bool {
        const plan = f.plans[number];
        const rows = switch (kind) {
            .event => try decoding.decode(f.gpa, &f.spare, plan, bytes, events.arn, &starts, null),
            .export_lines => try decoding.decode(f.gpa, &f.spare, plan, bytes, events.arn, &starts, source),
            .elements => try decoding.decodeElements(f.gpa, &f.spare, plan, bytes),
        };
        const is_good = rows.result.status == .good;
        if (is_good) {
            const found = if (kind == .elements) checks.checkElements(rows) else checks.check(rows);
            const hash = found catch |failure| {
                std.debug.print("{t}; bytes: {f}\n", .{ failure, std.zig.fmtString(bytes) });
                return failure;
            };
            f.hash = f.hash *% 31 +% hash;
            const delimiter = ",|\t"[number % 3];
            const text = csv_checks.check(f.gpa, rows, delimiter, 1 + bytes.len % 1000) catch |failure| {
                std.debug.print("{t}; bytes: {f}\n", .{ failure, std.zig.fmtString(bytes) });
                return failure;
            };
            f.hash = f.hash *% 31 +% text;
            f.rows += rows.result.rows;
            f.left += rows.result.left_count;
        } else f.refused += 1;
        if (!rows.free(&f.spare)) return error.Kept;
        return is_good;
    }
};
