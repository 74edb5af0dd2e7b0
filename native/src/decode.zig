//! The pass as a whole: bytes in, rows out.
const std = @import("std");
const arenas = @import("arena.zig");
const lines = @import("lines.zig");
const pass_of = @import("pass.zig");
const records = @import("records.zig");
const Fault = @import("scanner.zig").Fault;
const Pass = pass_of.Pass;
const Plan = @import("plan.zig").Plan;
const Rows = @import("rows.zig").Rows;
const Allocator = std.mem.Allocator;

/// Reads an event, or lines of an export if there is a `source`. The bytes outlive the rows.
pub fn decode(
    gpa: Allocator,
    spare: *arenas.Spare,
    plan: *Plan,
    bytes: []const u8,
    stream_arn: []const u8,
    starts: []const pass_of.VersionStart,
    source: ?*const lines.Export,
) Fault!*Rows {
    if (bytes.len > records.max_bytes) return error.OutOfMemory;
    const rows = try Rows.create(gpa, bytes);
    errdefer _ = rows.free(spare);
    var pass = try Pass.init(gpa, rows.pool.allocator(), plan, bytes);
    defer pass.deinit();
    pass.stream_arn = stream_arn;
    pass.version_starts = starts;
    pass.out.raw = try spare.take(gpa, 1);
    rows.takeOver(&pass, if (source) |given| lines.read(&pass, spare, given) else records.readEvent(&pass, spare));
    return rows;
}
