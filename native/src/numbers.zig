//! DynamoDB's numbers, exactly: nothing passes through a float, and nothing is rounded.
//!
//! The rules are those of `fastetl.columns` (`parse_number`, `plain`), which decide where these leave a number.
const std = @import("std");
const scanner = @import("scanner.zig");
const Fault = scanner.Fault;
const Scanner = scanner.Scanner;
const Text = scanner.Text;

/// Exponents of a number's first digit (DynamoDB Developer Guide, "Supported data types and naming rules": Number).
const max_exponent = 125;
const min_exponent = -130;

/// Characters of a number that is not spelled plainly: longer ones are left.
const max_spelled = 128;

/// Room for any of those, written plainly.
pub const Spare = [max_spelled + max_exponent - min_exponent + 8]u8;

pub const Number = struct {
    /// As the item has it.
    spelled: Text,
    /// All digits without exponent, needless zeros and the sign of zero: in the item itself, or in `Spare`.
    plain: []const u8,
    is_spelled_plainly: bool,
    negative: bool,
    /// Digits before the point; one if there is nothing but a zero.
    whole: usize,
    fraction: usize,

    pub fn isZeroBeforePoint(n: *const Number) bool {
        return n.plain[n.plain.len - n.fraction - @intFromBool(n.fraction > 0) - n.whole] == '0';
    }

    /// The digits before the point.
    pub fn wholeDigits(n: *const Number) []const u8 {
        const start: usize = @intFromBool(n.negative);
        return n.plain[start .. start + n.whole];
    }

    pub fn fractionDigits(n: *const Number) []const u8 {
        return n.plain[n.plain.len - n.fraction ..];
    }

    /// Digits from the first to the last that is no zero, and what the last one counts.
    pub fn significant(n: *const Number, room: *[64]u8) Fault!Significant {
        var digits: []const u8 = n.wholeDigits();
        if (n.fraction > 0) {
            if (n.whole + n.fraction > room.len) return error.Odd;
            @memcpy(room[0..n.whole], digits);
            @memcpy(room[n.whole..][0..n.fraction], n.fractionDigits());
            digits = room[0 .. n.whole + n.fraction];
        }
        const trimmed = std.mem.trimEnd(u8, digits, "0");
        const zeros: i32 = @intCast(digits.len - trimmed.len);
        return .{ .digits = std.mem.trimStart(u8, trimmed, "0"), .exponent = zeros - @as(i32, @intCast(n.fraction)) };
    }
};

pub const Significant = struct { digits: []const u8, exponent: i32 };

/// Reads a number from behind its opening quote on, and passes over the closing one. It is written to where it is
/// kept: as large as it is, copying it would take as long as reading it.
pub inline fn read(s: *Scanner, number: *Number, spare: *Spare) Fault!void {
    const start = s.at;
    var at = start;
    const bytes = s.bytes;
    const negative = at < bytes.len and bytes[at] == '-';
    if (negative) at += 1;
    const first = at;
    const whole = scanner.countDigits(bytes, at);
    at += whole;
    var fraction: usize = 0;
    if (at < bytes.len and bytes[at] == '.') {
        at += 1;
        fraction = scanner.countDigits(bytes, at);
        at += fraction;
        if (fraction == 0 or bytes[at - 1] == '0') return readOtherwise(s, number, start, spare);
    }
    if (at >= bytes.len or bytes[at] != '"' or whole == 0) return readOtherwise(s, number, start, spare);
    if (bytes[first] == '0' and (whole > 1 or (negative and fraction == 0))) return readOtherwise(s, number, start, spare);
    if (whole > max_exponent + 1 or fraction > -min_exponent) return error.Odd;
    s.at = at + 1;
    number.* = .{
        .spelled = .{ .start = start, .end = at },
        .plain = bytes[start..at],
        .is_spelled_plainly = true,
        .negative = negative,
        .whole = whole,
        .fraction = fraction,
    };
}

/// Reads any other spelling: `1.50`, `1E3`, `-0`, `+007`, `.5`.
fn readOtherwise(s: *Scanner, number: *Number, start: usize, spare: *Spare) Fault!void {
    const bytes = s.bytes[start..@min(s.bytes.len, start + max_spelled + 1)];
    const length = std.mem.indexOfScalar(u8, bytes, '"') orelse return error.Odd;
    const numeral = try parse(bytes[0..length]);
    s.at = start + length + 1;
    number.* = numeral.write(spare);
    number.spelled = .{ .start = start, .end = start + length };
}

const Numeral = struct {
    negative: bool,
    /// Without zeros at either end.
    digits: [max_spelled]u8,
    count: usize,
    /// Of the first digit.
    exponent: i32,

    fn write(n: *const Numeral, out: *Spare) Number {
        const digits = n.digits[0..n.count];
        var number = Number{
            .spelled = .{ .start = 0, .end = 0 },
            .plain = "0",
            .is_spelled_plainly = false,
            .negative = false,
            .whole = 1,
            .fraction = 0,
        };
        if (n.count == 0) return number;
        number.negative = n.negative;
        var used: usize = 0;
        if (n.negative) {
            out[0] = '-';
            used = 1;
        }
        const whole: usize = if (n.exponent >= 0) @intCast(n.exponent + 1) else 0;
        if (whole == 0) {
            out[used] = '0';
            used += 1;
        } else for (0..whole) |place| {
            out[used] = if (place < digits.len) digits[place] else '0';
            used += 1;
        }
        number.whole = @max(whole, 1);
        if (digits.len > whole) {
            const zeros: usize = if (n.exponent < -1) @intCast(-1 - n.exponent) else 0;
            out[used] = '.';
            used += 1;
            @memset(out[used..][0..zeros], '0');
            used += zeros;
            const rest = digits[whole..];
            @memcpy(out[used..][0..rest.len], rest);
            used += rest.len;
            number.fraction = zeros + rest.len;
        }
        number.plain = out[0..used];
        return number;
    }
};

/// Takes a numeral apart: digits with a point, perhaps signs and an exponent of at most four digits.
fn parse(text: []const u8) Fault!Numeral {
    var numeral = Numeral{ .negative = false, .digits = undefined, .count = 0, .exponent = 0 };
    var at: usize = 0;
    if (text.len > 0 and (text[0] == '-' or text[0] == '+')) {
        numeral.negative = text[0] == '-';
        at = 1;
    }
    const first = at;
    while (at < text.len and std.ascii.isDigit(text[at])) at += 1;
    const whole = text[first..at];
    var fraction: []const u8 = "";
    if (at < text.len and text[at] == '.') {
        at += 1;
        const point = at;
        while (at < text.len and std.ascii.isDigit(text[at])) at += 1;
        fraction = text[point..at];
    }
    if (whole.len + fraction.len == 0) return error.Odd;
    var exponent: i32 = 0;
    if (at < text.len and (text[at] == 'e' or text[at] == 'E')) {
        at += 1;
        const down = at < text.len and text[at] == '-';
        if (at < text.len and (text[at] == '-' or text[at] == '+')) at += 1;
        const digits = text[at..];
        if (digits.len == 0 or digits.len > 4) return error.Odd;
        for (digits) |c| {
            if (!std.ascii.isDigit(c)) return error.Odd;
            exponent = exponent * 10 + (c - '0');
        }
        if (down) exponent = -exponent;
        at = text.len;
    }
    if (at != text.len) return error.Odd;
    numeral.exponent = exponent + @as(i32, @intCast(whole.len)) - 1;
    for ([_][]const u8{ whole, fraction }) |part| for (part) |c| {
        if (numeral.count == 0 and c == '0') {
            numeral.exponent -= 1;
        } else {
            numeral.digits[numeral.count] = c;
            numeral.count += 1;
        }
    };
    while (numeral.count > 0 and numeral.digits[numeral.count - 1] == '0') numeral.count -= 1;
    if (numeral.count > 0 and (numeral.exponent > max_exponent or numeral.exponent < min_exponent)) return error.Odd;
    return numeral;
}

/// Tells whether an integer of `bits` bits, its sign not among them, holds a number.
pub fn fitsInteger(n: *const Number, bits: u32) bool {
    // Digits that every number of the type has at least one less of than its greatest.
    const digits: usize = switch (bits) {
        15 => 5,
        31 => 10,
        else => 19,
    };
    if (n.fraction > 0 or n.whole > digits) return false;
    if (n.whole < digits) return true;
    const limit = @as(u64, 1) << @intCast(bits);
    const size = toInteger(n.wholeDigits());
    return size < limit or (size == limit and n.negative);
}

/// A DECIMAL of this precision is kept in 64 bits (Redshift Database Developer Guide, "Numeric types").
const bigint_precision = 19;

pub fn fitsDecimal(n: *const Number, precision: u32, scale: u32) bool {
    if (n.fraction > scale) return false;
    if (!n.isZeroBeforePoint() and n.whole > precision - scale) return false;
    if (precision != bigint_precision) return true;
    var size = toInteger(n.wholeDigits());
    size = size * pow10(n.fraction) + toInteger(n.fractionDigits());
    return size * pow10(scale - n.fraction) < 1 << 63;
}

/// At most 19 digits, which 64 bits hold.
fn toInteger(digits: []const u8) u64 {
    var size: u64 = 0;
    for (digits) |c| size = size * 10 + (c - '0');
    return size;
}

fn pow10(exponent: usize) u64 {
    var power: u64 = 1;
    for (0..exponent) |_| power *= 10;
    return power;
}

/// Tells whether SUPER keeps all digits of a number: as DECIMAL(38,37) at most.
pub fn fitsSuper(n: *const Number) bool {
    const before: usize = if (n.isZeroBeforePoint()) 0 else n.whole;
    return n.fraction <= 37 and before + n.fraction <= 38;
}

/// Tells whether a float of this type, written with as few digits as tell it from its neighbours, is this number.
/// Says no where that is not sure: the reference decides then.
pub fn fitsFloat(comptime Float: type, n: *const Number) Fault!bool {
    var room: [64]u8 = undefined;
    const significant = try n.significant(&room);
    const digits, const exponent = .{ significant.digits, significant.exponent };
    if (digits.len == 0) return true;
    if (digits.len > 19) return false;
    const mantissa = toInteger(digits);
    const value = nearest(Float, mantissa, exponent);
    if (!std.math.isNormal(value)) return false;
    // This number of digits is the same after having been a float (FLT_DIG, DBL_DIG).
    if (digits.len <= if (Float == f32) 6 else 15) return true;
    // The gaps around a power of two differ, and with them what is nearest.
    if (std.math.frexp(value).significand == 0.5) return false;
    var written: [64]u8 = undefined;
    const shortest = std.fmt.float.render(&written, value, .{ .mode = .scientific }) catch return false;
    if (!isSpelled(shortest, digits, exponent)) return false;
    // Rounded twice, by way of f64, a number with one digit less may be this float as well.
    return nearest(Float, mantissa / 10, exponent + 1) != value and nearest(Float, mantissa / 10 + 1, exponent + 1) != value;
}

fn nearest(comptime Float: type, mantissa: u64, exponent: i32) Float {
    var text: [40]u8 = undefined;
    const spelled = std.fmt.bufPrint(&text, "{d}e{d}", .{ mantissa, exponent }) catch return 0;
    const value = std.fmt.parseFloat(f64, spelled) catch return 0;
    return @floatCast(value);
}

/// Tells whether `1.25e3` has these digits and this exponent of the last one.
fn isSpelled(scientific: []const u8, digits: []const u8, exponent: i32) bool {
    const e = std.mem.indexOfScalar(u8, scientific, 'e') orelse return false;
    const first = std.fmt.parseInt(i32, scientific[e + 1 ..], 10) catch return false;
    var count: usize = 0;
    for (scientific[0..e]) |c| {
        if (c == '.') continue;
        if (count == digits.len or digits[count] != c) return false;
        count += 1;
    }
    return count == digits.len and first == exponent + @as(i32, @intCast(digits.len)) - 1;
}
