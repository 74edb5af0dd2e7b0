//! What came of one event: its rows, and what was left, kept until nobody points into it any more.
const std = @import("std");
const arenas = @import("arena.zig");
const pass_of = @import("pass.zig");
const tables = @import("table.zig");
const Fault = @import("scanner.zig").Fault;
const Pass = pass_of.Pass;
const Allocator = std.mem.Allocator;

/// An undeclared attribute's name, and how many items have it.
pub const Ignored = extern struct { name: [*]const u8, length: u64, count: u64 };

pub const Status = enum(u32) { good, broken, no_memory };

/// What the caller reads of it.
pub const Result = extern struct {
    status: Status = .good,
    received: u32 = 0,
    rows: u32 = 0,
    left_count: u32 = 0,
    ignored_count: u64 = 0,
    ids_length: u64 = 0,
    left: ?[*]const pass_of.Left = null,
    positions: ?[*]const u32 = null,
    ids: ?[*]const u8 = null,
    ignored: ?[*]const Ignored = null,
};

pub const Rows = struct {
    /// First, since the caller knows it by the same address.
    result: Result = .{},
    /// One of the caller's own, and one for every array that has been handed out.
    references: std.atomic.Value(u32) = .init(1),
    gpa: Allocator,
    /// What is freed as a whole: names, and what describes the arrays.
    pool: std.heap.ArenaAllocator,
    event: []const u8,
    table: tables.Table,
    arena: arenas.Arena,
    left: std.ArrayList(pass_of.Left) = .empty,
    positions: std.ArrayList(u32) = .empty,
    ids: std.ArrayList(u8) = .empty,
    ignored: std.ArrayList(Ignored) = .empty,

    comptime {
        if (@offsetOf(Rows, "result") != 0) @compileError("the result is to come first");
    }

    pub fn create(gpa: Allocator, event: []const u8) Fault!*Rows {
        const rows = try gpa.create(Rows);
        rows.* = .{
            .gpa = gpa,
            .pool = .init(gpa),
            .event = event,
            .table = .{ .gpa = gpa, .columns = 0 },
            .arena = .{ .gpa = gpa },
        };
        return rows;
    }

    /// Takes out of a pass what it has made, whatever its outcome.
    pub fn takeOver(rows: *Rows, pass: *Pass, outcome: Fault!void) void {
        std.mem.swap(tables.Table, &rows.table, &pass.table);
        std.mem.swap(arenas.Arena, &rows.arena, &pass.out);
        std.mem.swap(std.ArrayList(pass_of.Left), &rows.left, &pass.left);
        std.mem.swap(std.ArrayList(u32), &rows.positions, &pass.positions);
        std.mem.swap(std.ArrayList(u8), &rows.ids, &pass.ids);
        rows.result = .{
            .received = pass.received,
            .rows = @intCast(rows.table.row),
            .left_count = @intCast(rows.left.items.len),
            .ids_length = rows.ids.items.len,
            .left = rows.left.items.ptr,
            .positions = rows.positions.items.ptr,
            .ids = rows.ids.items.ptr,
        };
        outcome catch |fault| rows.fail(fault);
        rows.listIgnored(pass) catch |fault| rows.fail(fault);
    }

    fn fail(rows: *Rows, fault: Fault) void {
        rows.result.status = if (fault == error.OutOfMemory) .no_memory else .broken;
    }

    fn listIgnored(rows: *Rows, pass: *Pass) Fault!void {
        for (pass.attributes.list.items) |name| {
            if (name.count == 0) continue;
            try rows.ignored.append(rows.gpa, .{ .name = name.text.ptr, .length = name.text.len, .count = name.count });
        }
        rows.result.ignored = rows.ignored.items.ptr;
        rows.result.ignored_count = rows.ignored.items.len;
    }

    /// Counts one who needs these rows no more; called by whoever drops an array, in any thread.
    pub fn letGo(rows: *Rows) void {
        _ = rows.references.fetchSub(1, .acq_rel);
    }

    /// Frees them unless somebody still needs them; tells whether it did. Large blocks are kept for the next event.
    pub fn free(rows: *Rows, spare: *arenas.Spare) bool {
        if (rows.references.load(.acquire) != 1) return false;
        const gpa = rows.gpa;
        spare.give(gpa, &rows.table.raw);
        spare.give(gpa, &rows.arena.raw);
        rows.left.deinit(gpa);
        rows.positions.deinit(gpa);
        rows.ids.deinit(gpa);
        rows.ignored.deinit(gpa);
        rows.pool.deinit();
        gpa.destroy(rows);
        return true;
    }
};
