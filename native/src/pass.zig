//! One event, or one piece of an export, on its way into columns: what is read, what is written, the record at hand.
const std = @import("std");
const arenas = @import("arena.zig");
const tables = @import("table.zig");
const names_of = @import("names.zig");
const numbers = @import("numbers.zig");
const plans = @import("plan.zig");
const scanner = @import("scanner.zig");
const strings = @import("strings.zig");
const Arena = arenas.Arena;
const Fault = scanner.Fault;
const Names = names_of.Names;
const Plan = plans.Plan;
const Text = scanner.Text;
const Allocator = std.mem.Allocator;

/// `_key`, `_version`, `_op`, `_event_id`, `_changed_at`, `_deleted`: what every row has before its declared columns.
pub const System = enum(usize) { key, version, op, event_id, changed_at, deleted };
pub const system_columns = std.enums.values(System).len;

/// From this time on versions begin like this: epoch, label and their separators.
pub const VersionStart = extern struct { from: f64, prefix: plans.Bytes };

/// A record that is left to the reference: its place in the event, and where it stands.
pub const Left = extern struct { position: u32, start: u32, end: u32 };

/// An attribute's value that a key is made of.
pub const KeyPart = struct { tag: u8 = 0, string: Text = .{ .start = 0, .end = 0 } };

/// An undeclared attribute for the extra column: the number of its name, and where its JSON stands in `extra`.
pub const Extra = struct { name: u32, start: usize, end: usize };

pub const Element = @import("sets.zig").Element;
pub const Member = @import("documents.zig").Member;

pub const Pass = struct {
    gpa: Allocator,
    plan: *Plan,
    in: scanner.Scanner,
    out: Arena,
    table: tables.Table,
    /// The attributes' names, and those that the event adds to them.
    attributes: Names,
    /// Texts without their escapes, for as long as they are looked at.
    spare: Arena,
    /// The JSON of a record's undeclared attributes, before they are sorted by name.
    extra: Arena,
    /// The number at hand, and room for it where it is not spelled plainly.
    number: numbers.Number = undefined,
    number_spare: numbers.Spare = undefined,

    stream_arn: []const u8,
    version_starts: []const VersionStart,

    // The record at hand. Each has a number, by which names and columns tell whether they were there already.
    turn: u64 = 0,
    /// By column.
    turns: []u64 = &.{},
    found: usize = 0,
    keys: [plans.max_keys]KeyPart = undefined,
    unknown: names_of.Unknown = .{},
    /// Undeclared attributes of the record, by the number of their names.
    ignored: std.ArrayList(u32) = .empty,
    extras: std.ArrayList(Extra) = .empty,
    /// The members of the maps that are being written.
    members: std.ArrayList(Member) = .empty,
    elements: std.ArrayList(Element) = .empty,

    // What records that come together share.
    time_spelled: []const u8 = "",
    time_view: tables.View = @bitCast(@as(u128, 0)),
    version_prefix: []const u8 = "",

    // What comes of it besides the table.
    received: u32 = 0,
    left: std.ArrayList(Left) = .empty,
    positions: std.ArrayList(u32) = .empty,
    /// The rows' event ids, each after a line feed.
    ids: std.ArrayList(u8) = .empty,

    pub fn init(gpa: Allocator, texts: Allocator, plan: *Plan, bytes: []const u8) Fault!Pass {
        var pass = Pass{
            .gpa = gpa,
            .plan = plan,
            .in = .{ .bytes = bytes },
            .out = .{ .gpa = gpa },
            .table = .{ .gpa = gpa, .columns = system_columns + plan.columns.len + @intFromBool(plan.undeclared == .extra) },
            .attributes = .init(gpa, texts, plan.attributes.seed),
            .spare = .{ .gpa = gpa },
            .extra = .{ .gpa = gpa },
            .stream_arn = "",
            .version_starts = &.{},
        };
        errdefer pass.deinit();
        try pass.attributes.copy(&plan.attributes);
        pass.turns = try gpa.alloc(u64, plan.columns.len);
        @memset(pass.turns, 0);
        return pass;
    }

    /// Frees all but what has been taken out of it.
    pub fn deinit(p: *Pass) void {
        p.attributes.deinit();
        p.gpa.free(p.turns);
        p.ignored.deinit(p.gpa);
        p.extras.deinit(p.gpa);
        p.members.deinit(p.gpa);
        p.elements.deinit(p.gpa);
        p.left.deinit(p.gpa);
        p.positions.deinit(p.gpa);
        p.ids.deinit(p.gpa);
        p.spare.raw.destroy(p.gpa);
        p.extra.raw.destroy(p.gpa);
        p.out.raw.destroy(p.gpa);
        p.table.raw.destroy(p.gpa);
    }

    /// Begins a record.
    pub fn begin(p: *Pass) void {
        p.plan.turn += 1;
        p.turn = p.plan.turn;
        p.found = 0;
        p.keys = @splat(.{});
        p.ignored.clearRetainingCapacity();
        p.extras.clearRetainingCapacity();
        p.members.clearRetainingCapacity();
        p.elements.clearRetainingCapacity();
        p.spare.used = 0;
        p.extra.used = 0;
    }

    /// Takes the row as it is.
    pub fn accept(p: *Pass) Fault!void {
        try p.positions.append(p.gpa, p.received);
        for (p.ignored.items) |name| p.attributes.list.items[name].count += 1;
        p.table.row += 1;
        p.received += 1;
    }

    /// Gives the row up, and leaves the record, which stands from `start` to `end`, to the reference.
    pub fn leave(p: *Pass, start: usize, end: usize, mark: usize) Fault!void {
        p.out.used = mark;
        // What it shared may have been written behind the mark.
        p.time_spelled = "";
        p.table.clearRow();
        try p.left.append(p.gpa, .{ .position = p.received, .start = @intCast(start), .end = @intCast(end) });
        p.received += 1;
    }

    // What columns are given.

    pub inline fn putSystem(p: *Pass, column: System, view: tables.View) void {
        p.table.put(@backingInt(column), view);
    }

    pub inline fn put(p: *Pass, column: usize, view: tables.View) void {
        p.turns[column] = p.turn;
        p.found += 1;
        p.table.put(system_columns + column, view);
    }

    pub fn putNull(p: *Pass, column: usize) void {
        p.turns[column] = p.turn;
        p.found += 1;
        p.table.putNull(system_columns + column);
    }

    /// NULL for every column that the item has nothing for.
    pub fn putNulls(p: *Pass) void {
        if (p.found == p.turns.len) return;
        for (p.turns, 0..) |turn, column| if (turn != p.turn) p.table.putNull(system_columns + column);
    }

    /// Gives a column a text as it stands in the event.
    pub inline fn putText(p: *Pass, column: usize, text: Text) Fault!void {
        if (p.isNullMarker(p.in.slice(text))) return error.Odd;
        p.put(column, tables.viewOf(p.in.bytes, text.start, text.len(), tables.in_event));
    }

    /// Gives a column what has been written since `mark`.
    pub inline fn putWritten(p: *Pass, column: usize, mark: usize) Fault!void {
        if (p.isNullMarker(p.out.since(mark))) return error.Odd;
        p.put(column, p.takeWritten(mark));
    }

    pub inline fn takeWritten(p: *Pass, mark: usize) tables.View {
        const view = tables.viewOf(p.out.written(), mark, p.out.used - mark, tables.in_arena);
        if (view.length <= tables.max_inline) p.out.used = mark;
        return view;
    }

    inline fn isNullMarker(p: *const Pass, text: []const u8) bool {
        return text.len == p.plan.null_marker.len and std.mem.eql(u8, text, p.plan.null_marker);
    }

    pub fn putTruth(p: *Pass, column: usize, truth: bool) Fault!void {
        if (p.isNullMarker(if (truth) "true" else "false")) return error.Odd;
        p.put(column, if (truth) tables.literal("true") else tables.literal("false"));
    }

    /// Gives a text without its escapes: in the event, or in `spare` until the record ends.
    pub fn plainText(p: *Pass, string: Text) Fault![]const u8 {
        if (!string.escaped) return p.in.slice(string);
        const mark = p.spare.used;
        try strings.unescape(&p.spare, p.in.slice(string));
        return p.spare.since(mark);
    }
};
