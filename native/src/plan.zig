//! What one pipeline makes of an item, compiled from its columns: which attribute, or part of one, each column takes.
const std = @import("std");
const names_of = @import("names.zig");
const Names = names_of.Names;
pub const none = names_of.none;
const Fault = @import("scanner.zig").Fault;
const Allocator = std.mem.Allocator;

/// Redshift has no more in a table (Amazon Redshift Management Guide, "Quotas and limits").
pub const max_columns = 1600;
pub const max_keys = 2;

/// Steps of a column's path; DynamoDB nests 32 levels deep.
const max_steps = 64;

/// What a column holds; `RedshiftType.kind` and how times are spelled, as `native.py` numbers them.
pub const Kind = enum(u32) {
    varchar,
    char,
    integer,
    decimal,
    real,
    double,
    boolean,
    varbyte,
    date,
    timestamp,
    timestamptz,
    epoch_date,
    epoch_timestamp,
    epoch_timestamptz,
    time,
    timetz,
    super,
    /// The value as the event spells it, for another pass over what is in it.
    spelled,
    /// What this pass does not know: each record that has a value for it is left to the reference.
    unknown,
};

pub const Bytes = extern struct {
    ptr: ?[*]const u8,
    len: u64,

    pub fn slice(bytes: Bytes) []const u8 {
        return if (bytes.ptr) |ptr| ptr[0..bytes.len] else "";
    }
};

/// A step down a path: to a map's member by name, or to a list's element by position where there is no name.
pub const Step = extern struct { name: Bytes, position: u64 };

pub const Column = extern struct {
    path: [*]const Step,
    steps: u32,
    kind: Kind,
    /// Bytes of VARCHAR, CHAR and VARBYTE; bits of an integer without its sign; microseconds of an epoch time's unit.
    length: u32,
    precision: u32,
    scale: u32,
};

/// What takes an attribute's value, or a part of it.
pub const Node = struct {
    /// The one column that takes it, whole; `none` where several do, or parts of it are taken.
    single: u32 = none,
    /// Columns that take it whole.
    whole: std.ArrayList(u32) = .empty,
    /// Maps' members of which something is taken; each leads to a node.
    members: Names,
    elements: std.ArrayList(Element) = .empty,
    /// All columns that take a part of it.
    parts: std.ArrayList(u32) = .empty,

    pub const Element = struct { position: u64, node: u32 };

    pub fn isWhole(node: *const Node) bool {
        return node.parts.items.len == 0;
    }
};

pub const Undeclared = enum(u32) { ignore, extra, reject };

/// Of deleted items: of no use, part of the row where there is one, or needed for the row.
pub const OldImages = enum(u32) { ignored, kept, needed };

pub const Plan = struct {
    gpa: Allocator,
    pool: std.heap.ArenaAllocator,
    columns: []Column,
    nodes: std.ArrayList(Node) = .empty,
    /// Of items: each leads to a node, or is a key's, or both.
    attributes: Names,
    envelope: Names,
    change: Names,
    line: Names,
    keys: u32,
    null_marker: []const u8,
    undeclared: Undeclared,
    old_images: OldImages,
    /// Counts records, so that each has a number of its own.
    turn: u64 = 0,

    pub const envelope_names = [_][]const u8{
        "eventID", "eventName", "eventVersion", "eventSource", "awsRegion", "dynamodb", "eventSourceARN", "userIdentity",
    };
    pub const change_names = [_][]const u8{
        "ApproximateCreationDateTime", "Keys", "SequenceNumber", "SizeBytes", "StreamViewType", "NewImage", "OldImage",
    };
    pub const line_names = [_][]const u8{ "Item", "Metadata", "Keys", "NewImage", "OldImage" };

    pub const Settings = struct {
        keys: []const Bytes,
        columns: []const Column,
        null_marker: []const u8,
        undeclared: Undeclared,
        old_images: OldImages,
    };

    pub fn create(gpa: Allocator, settings: Settings) Fault!*Plan {
        if (settings.keys.len > max_keys or settings.columns.len > max_columns) return error.Odd;
        const plan = try gpa.create(Plan);
        const seed = @intFromPtr(plan);
        plan.* = .{
            .gpa = gpa,
            .pool = std.heap.ArenaAllocator.init(gpa),
            .columns = &.{},
            .attributes = undefined,
            .envelope = undefined,
            .change = undefined,
            .line = undefined,
            .keys = @intCast(settings.keys.len),
            .null_marker = "",
            .undeclared = settings.undeclared,
            .old_images = settings.old_images,
        };
        const pool = plan.pool.allocator();
        for ([_]*Names{ &plan.attributes, &plan.envelope, &plan.change, &plan.line }) |names| names.* = .init(gpa, pool, seed);
        errdefer plan.destroy();
        try plan.compile(pool, settings);
        return plan;
    }

    pub fn destroy(plan: *Plan) void {
        const gpa = plan.gpa;
        for ([_]*Names{ &plan.attributes, &plan.envelope, &plan.change, &plan.line }) |names| names.deinit();
        for (plan.nodes.items) |*node| {
            node.members.deinit();
            node.whole.deinit(gpa);
            node.elements.deinit(gpa);
            node.parts.deinit(gpa);
        }
        plan.nodes.deinit(gpa);
        plan.pool.deinit();
        gpa.destroy(plan);
    }

    fn compile(plan: *Plan, pool: Allocator, settings: Settings) Fault!void {
        plan.null_marker = try pool.dupe(u8, settings.null_marker);
        plan.columns = try pool.dupe(Column, settings.columns);
        for (settings.keys, 0..) |key, number| {
            const which = try plan.attributes.add(try pool.dupe(u8, key.slice()));
            plan.attributes.list.items[which].key = @intCast(number);
        }
        for (settings.columns, 0..) |*column, number| try plan.addColumn(pool, column, @intCast(number));
        for (plan.nodes.items) |*node| if (node.isWhole() and node.whole.items.len == 1) {
            node.single = node.whole.items[0];
        };
        for (Plan.envelope_names) |name| _ = try plan.envelope.add(name);
        for (Plan.change_names) |name| _ = try plan.change.add(name);
        for (Plan.line_names) |name| _ = try plan.line.add(name);
    }

    /// Adds a column to the node of its attribute, and to those on its path below.
    fn addColumn(plan: *Plan, pool: Allocator, column: *const Column, number: u32) Fault!void {
        if (column.steps == 0 or column.steps > max_steps) return error.Odd;
        const path = column.path[0..column.steps];
        const root = try plan.attributes.add(try pool.dupe(u8, path[0].name.slice()));
        if (plan.attributes.list.items[root].leads_to == none) {
            const fresh = try plan.addNode(pool);
            plan.attributes.list.items[root].leads_to = fresh;
        }
        var node = plan.attributes.list.items[root].leads_to;
        for (path[1..]) |step| {
            try plan.nodes.items[node].parts.append(plan.gpa, number);
            node = try plan.below(pool, node, step);
        }
        try plan.nodes.items[node].whole.append(plan.gpa, number);
    }

    fn addNode(plan: *Plan, pool: Allocator) Fault!u32 {
        try plan.nodes.append(plan.gpa, .{ .members = .init(plan.gpa, pool, plan.attributes.seed) });
        return @intCast(plan.nodes.items.len - 1);
    }

    fn below(plan: *Plan, pool: Allocator, node: u32, step: Step) Fault!u32 {
        if (step.name.ptr == null) {
            for (plan.nodes.items[node].elements.items) |element| if (element.position == step.position) return element.node;
            const fresh = try plan.addNode(pool);
            try plan.nodes.items[node].elements.append(plan.gpa, .{ .position = step.position, .node = fresh });
            return fresh;
        }
        const which = try plan.nodes.items[node].members.add(try pool.dupe(u8, step.name.slice()));
        if (plan.nodes.items[node].members.list.items[which].leads_to == none) {
            const fresh = try plan.addNode(pool);
            plan.nodes.items[node].members.list.items[which].leads_to = fresh;
        }
        return plan.nodes.items[node].members.list.items[which].leads_to;
    }
};
