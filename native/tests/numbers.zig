const std = @import("std");
const repeat = @import("repeat.zig").repeat;
const numbers = @import("../src/numbers.zig");
const Scanner = @import("../src/scanner.zig").Scanner;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectError = std.testing.expectError;
const expectEqualStrings = std.testing.expectEqualStrings;

var spare: numbers.Spare = undefined;
var number: numbers.Number = undefined;

fn read(comptime text: []const u8) !numbers.Number {
    var s = Scanner{ .bytes = text ++ "\"}" };
    var found: numbers.Number = undefined;
    try numbers.read(&s, &found, &spare);
    try expectEqual(text.len + 1, s.at);
    try expectEqualStrings(text, s.slice(found.spelled));
    return found;
}

test "a number is written plainly, however it is spelled" {
    const cases = .{
        .{ "0", "0" },       .{ "-0", "0" },        .{ "0.00", "0" },    .{ "-0.0", "0" },                      .{ "007", "7" },
        .{ "+5", "5" },      .{ ".5", "0.5" },      .{ "5.", "5" },      .{ "1.50", "1.5" },                    .{ "-1.50", "-1.5" },
        .{ "1E3", "1000" },  .{ "1.5e3", "1500" },  .{ "15e-1", "1.5" }, .{ "1e-3", "0.001" },                  .{ "-25E-3", "-0.025" },
        .{ "100E-2", "1" },  .{ "0E5", "0" },       .{ "0e-9999", "0" }, .{ "120", "120" },                     .{ "0.001", "0.001" },
        .{ "00.10e1", "1" }, .{ "12.34", "12.34" }, .{ "1e0", "1" },     .{ "9E125", "9" ++ repeat("0", 125) }, .{ "1E-130", "0." ++ repeat("0", 129) ++ "1" },
    };
    inline for (cases) |case| try expectEqualStrings(case[1], (try read(case[0])).plain);
}

test "what DynamoDB cannot have is odd" {
    inline for (.{ "", "-", "+", ".", "e5", "1e", "1e12345", "1_0", " 1", "1 ", "NaN", "Infinity", "0x1", "--1", "1.2.3", "1E126", "1E-131", "\\u0031" }) |text| {
        var s = Scanner{ .bytes = text ++ "\"}" };
        try expectError(error.Odd, numbers.read(&s, &number, &spare));
    }
    var s = Scanner{ .bytes = repeat("1", 200) };
    try expectError(error.Odd, numbers.read(&s, &number, &spare));
}

fn fitsDecimal(comptime text: []const u8, precision: u32, scale: u32) !bool {
    return numbers.fitsDecimal(&try read(text), precision, scale);
}

test "integers have their ranges" {
    try expect(numbers.fitsInteger(&try read("32767"), 15));
    try expect(!numbers.fitsInteger(&try read("32768"), 15));
    try expect(numbers.fitsInteger(&try read("-32768"), 15));
    try expect(!numbers.fitsInteger(&try read("-32769"), 15));
    try expect(numbers.fitsInteger(&try read("9223372036854775807"), 63));
    try expect(!numbers.fitsInteger(&try read("9223372036854775808"), 63));
    try expect(numbers.fitsInteger(&try read("-9223372036854775808"), 63));
    try expect(!numbers.fitsInteger(&try read("99999999999999999999"), 63));
    try expect(!numbers.fitsInteger(&try read("1.5"), 31));
    try expect(numbers.fitsInteger(&try read("1E4"), 15));
}

test "decimals have their digits" {
    try expect(try fitsDecimal("123.45", 5, 2));
    try expect(!try fitsDecimal("1234.5", 5, 2));
    try expect(!try fitsDecimal("1.234", 5, 2));
    try expect(try fitsDecimal("0.123456", 6, 6));
    try expect(!try fitsDecimal("1", 6, 6));
    try expect(try fitsDecimal("0", 6, 6));
    try expect(try fitsDecimal("922337203685477.5807", 19, 4));
    try expect(!try fitsDecimal("922337203685477.5808", 19, 4));
    try expect(!try fitsDecimal("-999999999999999.9999", 19, 4));
    try expect(try fitsDecimal("99999999999999999999999999999999999999", 38, 0));
}

fn fitsFloat(comptime Float: type, comptime text: []const u8) !bool {
    return numbers.fitsFloat(Float, &try read(text));
}

test "floats keep the numbers that they are written as" {
    inline for (.{ "0", "0.5", "0.1", "0.30000000000000004", "1125899906842625.2", "1125899906842625.8", "1E100", "-12.345678901234567", "123456789012345" }) |text| {
        errdefer std.debug.print("{s}\n", .{text});
        try expect(try fitsFloat(f64, text));
    }
    inline for (.{ "9007199254740993", "0.300000000000000041", "0.12345678901234567890" }) |text| {
        try expect(!try fitsFloat(f64, text));
    }
    inline for (.{ "0", "0.5", "0.1", "52.52001", "16777216", "3.4028235E38", "123456" }) |text| {
        const fits = try fitsFloat(f32, text);
        try expect(fits or std.mem.eql(u8, text, "16777216"));
    }
    inline for (.{ "16777217", "3.5E38", "1E-50", "0.1234567890" }) |text| try expect(!try fitsFloat(f32, text));
}

test "SUPER keeps 38 digits" {
    try expect(numbers.fitsSuper(&try read(repeat("9", 38))));
    try expect(!numbers.fitsSuper(&try read(repeat("9", 39))));
    try expect(numbers.fitsSuper(&try read("0." ++ repeat("9", 37))));
    try expect(!numbers.fitsSuper(&try read("0." ++ repeat("9", 38))));
    try expect(!numbers.fitsSuper(&try read("99." ++ repeat("9", 37))));
}
