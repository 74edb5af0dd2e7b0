//! The pass's own tests, under Zig's debug allocator, which sees what is freed twice, by another or never:
//! `zig test native/tests.zig`.
test {
    _ = @import("tests/scanner.zig");
    _ = @import("tests/numbers.zig");
    _ = @import("tests/times.zig");
    _ = @import("tests/names.zig");
    _ = @import("tests/rows.zig");
}
