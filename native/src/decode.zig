//! The pass as a whole: bytes in, rows out.
const std = @import("std");
const arenas = @import("arena.zig");
const elements = @import("elements.zig");
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
    var work = try Work.begin(gpa, spare, plan, bytes);
    defer work.pass.deinit();
    work.pass.stream_arn = stream_arn;
    work.pass.version_starts = starts;
    work.end(if (source) |given| lines.read(&work.pass, spare, given) else records.readEvent(&work.pass, spare));
    return work.rows;
}

/// Reads lists and maps, a line each, as rows of their elements. The bytes outlive the rows.
pub fn decodeElements(gpa: Allocator, spare: *arenas.Spare, plan: *Plan, bytes: []const u8) Fault!*Rows {
    var work = try Work.begin(gpa, spare, plan, bytes);
    defer work.pass.deinit();
    work.end(elements.read(&work.pass, spare));
    return work.rows;
}

const Work = struct {
    rows: *Rows,
    pass: Pass,

    fn begin(gpa: Allocator, spare: *arenas.Spare, plan: *Plan, bytes: []const u8) Fault!Work {
        if (bytes.len > records.max_bytes) return error.OutOfMemory;
        const rows = try Rows.create(gpa, bytes);
        errdefer _ = rows.free(spare);
        var pass = try Pass.init(gpa, rows.pool.allocator(), plan, bytes);
        errdefer pass.deinit();
        pass.out.raw = try spare.take(gpa, 1);
        return .{ .rows = rows, .pass = pass };
    }

    fn end(work: *Work, outcome: Fault!void) void {
        work.rows.takeOver(&work.pass, outcome);
    }
};
