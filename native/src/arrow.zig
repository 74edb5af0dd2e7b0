//! Rows as one struct of text columns, by the Arrow C data interface: whoever imports it copies nothing.
const std = @import("std");
const pass_of = @import("pass.zig");
const rows_of = @import("rows.zig");
const tables = @import("table.zig");
const Fault = @import("scanner.zig").Fault;
const Rows = rows_of.Rows;
const system_columns = pass_of.system_columns;

const nullable = 2;

pub const Schema = extern struct {
    format: ?[*:0]const u8,
    name: ?[*:0]const u8,
    metadata: ?[*]const u8 = null,
    flags: i64 = nullable,
    n_children: i64 = 0,
    children: ?[*]*Schema = null,
    dictionary: ?*Schema = null,
    release: ?*const fn (*Schema) callconv(.c) void,
    private_data: ?*anyopaque,
};

pub const Array = extern struct {
    length: i64,
    null_count: i64,
    offset: i64 = 0,
    n_buffers: i64,
    n_children: i64 = 0,
    buffers: ?[*]?*const anyopaque,
    children: ?[*]*Array = null,
    dictionary: ?*Array = null,
    release: ?*const fn (*Array) callconv(.c) void,
    private_data: ?*anyopaque,
};

comptime {
    if (@sizeOf(Schema) != 72 or @sizeOf(Array) != 80) @compileError("not as the Arrow C data interface lays them out");
}

fn releaseSchema(schema: *Schema) callconv(.c) void {
    if (schema.children) |children| for (children[0..@intCast(schema.n_children)]) |child| {
        if (child.release) |release| release(child);
    };
    schema.release = null;
    letGo(schema.private_data);
}

fn releaseArray(array: *Array) callconv(.c) void {
    if (array.children) |children| for (children[0..@intCast(array.n_children)]) |child| {
        if (child.release) |release| release(child);
    };
    array.release = null;
    letGo(array.private_data);
}

/// Nothing is freed here, in whatever thread this is: the caller does when it finds that nobody needs the rows.
fn letGo(owner: ?*anyopaque) void {
    const rows: *Rows = @ptrCast(@alignCast(owner.?));
    rows.letGo();
}

/// Validity, views, the event, the arena, and how long those two are (Arrow C data interface, "Binary view arrays").
const Buffers = [5]?*const anyopaque;

/// Describes the rows as columns, named by their numbers: those of the system, the file's name, those declared.
pub fn describe(rows: *Rows, file: []const u8, array: *Array, schema: *Schema) Fault!void {
    const memory = rows.pool.allocator();
    const fields = rows.table.columns + 1;
    const arrays = try memory.alloc(Array, fields);
    const schemas = try memory.alloc(Schema, fields);
    const array_pointers = try memory.alloc(*Array, fields);
    const schema_pointers = try memory.alloc(*Schema, fields);
    const buffers = try memory.alloc(Buffers, fields);
    const no_buffers = try memory.create([1]?*const anyopaque);
    const sizes = try memory.create([2]i64);
    const file_views = try describeFile(rows, file);
    no_buffers.* = .{null};
    sizes.* = .{ @intCast(rows.event.len), @intCast(rows.arena.used) };
    const count: i64 = @intCast(rows.table.row);
    for (0..fields) |field| {
        const is_file = field == system_columns;
        const column = if (field > system_columns) field - 1 else field;
        const nulls = if (is_file) 0 else rows.table.row - rows.table.countValid(column);
        const views: *const anyopaque = if (is_file) file_views.ptr else rows.table.columnViews(column).ptr;
        buffers[field] = .{
            if (nulls > 0) rows.table.columnBits(column).ptr else null,
            views,
            rows.event.ptr,
            rows.arena.raw.bytes.ptr,
            sizes,
        };
        arrays[field] = .{
            .length = count,
            .null_count = @intCast(nulls),
            .n_buffers = buffers[field].len,
            .buffers = &buffers[field],
            .release = releaseArray,
            .private_data = rows,
        };
        const name = std.fmt.allocPrintSentinel(memory, "{d}", .{field}, 0) catch return error.OutOfMemory;
        schemas[field] = .{ .format = "vu", .name = name.ptr, .release = releaseSchema, .private_data = rows };
        array_pointers[field] = &arrays[field];
        schema_pointers[field] = &schemas[field];
    }
    array.* = .{
        .length = count,
        .null_count = 0,
        .n_buffers = 1,
        .buffers = no_buffers,
        .n_children = @intCast(fields),
        .children = array_pointers.ptr,
        .release = releaseArray,
        .private_data = rows,
    };
    schema.* = .{
        .format = "+s",
        .name = "",
        .flags = 0,
        .n_children = @intCast(fields),
        .children = schema_pointers.ptr,
        .release = releaseSchema,
        .private_data = rows,
    };
    _ = rows.references.fetchAdd(@intCast(2 * (fields + 1)), .acq_rel);
}

/// The file's name, once in the arena and once a row as a view.
fn describeFile(rows: *Rows, file: []const u8) Fault![]tables.View {
    const views = try rows.pool.allocator().alloc(tables.View, rows.table.row);
    const mark = rows.arena.used;
    try rows.arena.write(file);
    @memset(views, tables.viewOf(rows.arena.written(), mark, file.len, tables.in_arena));
    return views;
}
