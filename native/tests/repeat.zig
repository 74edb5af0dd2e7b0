/// Gives a text `count` times over.
pub inline fn repeat(comptime text: []const u8, comptime count: usize) []const u8 {
    return comptime made: {
        @setEvalBranchQuota(100_000);
        var out: [text.len * count]u8 = undefined;
        for (0..count) |place| out[place * text.len ..][0..text.len].* = text[0..text.len].*;
        const result = out;
        break :made &result;
    };
}
