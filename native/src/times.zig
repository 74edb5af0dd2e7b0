//! Days and points in time as Redshift reads them: `2026-01-31` and `2026-01-31 23:59:59.000001`.
//!
//! The rules are those of `fastetl.columns`, which decides where these leave a text: a minute of 24 o'clock, say.
const std = @import("std");
const Arena = @import("arena.zig").Arena;
const Fault = @import("scanner.zig").Fault;

pub const second = 1_000_000;
pub const day = 86_400 * second;

/// Microseconds since 1970 of the first moment of the year 1 and behind the last of 9999.
const least = -62_135_596_800 * second;
const beyond = 253_402_300_800 * second;

/// A point in time: microseconds since 1970.
pub const Moment = struct {
    micros: i64,

    pub fn of(micros: i64) Fault!Moment {
        return if (micros < least or micros >= beyond) error.Odd else .{ .micros = micros };
    }

    pub fn isMidnight(moment: Moment) bool {
        return @mod(moment.micros, day) == 0;
    }

    pub fn writeDay(moment: Moment, out: *Arena) Fault!void {
        var text: [10]u8 = undefined;
        printDay(&text, @divFloor(moment.micros, day));
        try out.write(&text);
    }

    /// Writes `2026-01-31 23:59:59`, with microseconds where there are any, or `always`.
    pub fn write(moment: Moment, out: *Arena, always: bool) Fault!void {
        const of_day: u64 = @intCast(@mod(moment.micros, day));
        const of_second = of_day % second;
        var text: [26]u8 = "0000-00-00 00:00:00.000000".*;
        printDay(text[0..10], @divFloor(moment.micros, day));
        const seconds = of_day / second;
        printPair(text[11..13], seconds / 3600);
        printPair(text[14..16], seconds / 60 % 60);
        printPair(text[17..19], seconds % 60);
        printPair(text[20..22], of_second / 10_000);
        printPair(text[22..24], of_second / 100 % 100);
        printPair(text[24..26], of_second % 100);
        try out.write(if (always or of_second > 0) &text else text[0..19]);
    }
};

fn printPair(out: *[2]u8, number: u64) void {
    out.* = .{ '0' + @as(u8, @intCast(number / 10)), '0' + @as(u8, @intCast(number % 10)) };
}

/// Days since 1970-01-01 as a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn printDay(out: *[10]u8, days: i64) void {
    const shifted = days + 719_468;
    const era = @divFloor(shifted, 146_097);
    const of_era: u64 = @intCast(shifted - era * 146_097);
    const year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    const of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const shifted_month = (5 * of_year + 2) / 153;
    const month = if (shifted_month < 10) shifted_month + 3 else shifted_month - 9;
    const year: u64 = @intCast(@as(i64, @intCast(year_of_era)) + era * 400 + @intFromBool(month <= 2));
    printPair(out[0..2], year / 100);
    printPair(out[2..4], year % 100);
    out[4] = '-';
    printPair(out[5..7], month);
    out[7] = '-';
    printPair(out[8..10], of_year - (153 * shifted_month + 2) / 5 + 1);
}

fn daysOf(year: i64, month: i64, of_month: i64) i64 {
    const shifted = if (month <= 2) year - 1 else year;
    const era = @divFloor(shifted, 400);
    const year_of_era = shifted - era * 400;
    const of_year = @divFloor(153 * (if (month > 2) month - 3 else month + 9) + 2, 5) + of_month - 1;
    return era * 146_097 + year_of_era * 365 + @divFloor(year_of_era, 4) - @divFloor(year_of_era, 100) + of_year - 719_468;
}

/// Reads two digits of at least and at most so much.
fn pair(text: []const u8, at: usize, from: u32, to: u32) Fault!u32 {
    if (at + 2 > text.len) return error.Odd;
    const tens = text[at] -% '0';
    const ones = text[at + 1] -% '0';
    if (tens > 9 or ones > 9) return error.Odd;
    const number = @as(u32, tens) * 10 + ones;
    return if (number < from or number > to) error.Odd else number;
}

const Date = struct { year: u32, month: u32, of_month: u32 };

fn readDate(text: []const u8) Fault!Date {
    if (text.len < 10 or text[4] != '-' or text[7] != '-') return error.Odd;
    const year = try pair(text, 0, 0, 99) * 100 + try pair(text, 2, 0, 99);
    const month = try pair(text, 5, 1, 12);
    const leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0;
    const last: u32 = switch (month) {
        2 => if (leap) 29 else 28,
        4, 6, 9, 11 => 30,
        else => 31,
    };
    if (year == 0) return error.Odd;
    return .{ .year = year, .month = month, .of_month = try pair(text, 8, 1, last) };
}

/// Tells whether a text is a day as Redshift writes it.
pub fn checkDay(text: []const u8) Fault!void {
    _ = try readDate(text);
    if (text.len != 10) return error.Odd;
}

/// A time as an item writes it, in UTC or with an offset; what may be copied is.
pub const Written = union(enum) {
    /// Its first 19 characters are the text, but for the T.
    as_it_is,
    moment: Moment,
};

/// Reads ISO 8601: `2026-01-31T23:59:59.000001`, with Z or an offset if there is one, without time or seconds perhaps.
pub fn read(text: []const u8) Fault!Written {
    const date = try readDate(text);
    var at: usize = 10;
    var seconds: u32 = 0;
    var micros: i64 = 0;
    var has_seconds = false;
    if (at < text.len and (text[at] == 'T' or text[at] == ' ')) {
        seconds = try pair(text, 11, 0, 23) * 3600;
        if (text.len < 16 or text[13] != ':') return error.Odd;
        seconds += try pair(text, 14, 0, 59) * 60;
        at = 16;
        if (at < text.len and text[at] == ':') {
            seconds += try pair(text, 17, 0, 59);
            has_seconds = true;
            at = 19;
            if (at < text.len and (text[at] == '.' or text[at] == ',')) {
                const start = at + 1;
                at = start;
                while (at < text.len and std.ascii.isDigit(text[at])) at += 1;
                micros = try readFraction(text[start..at]);
            }
        }
    }
    const offset = try readOffset(text[at..]);
    if (has_seconds and micros == 0 and offset == 0) return .as_it_is;
    const days = daysOf(date.year, date.month, date.of_month);
    return .{ .moment = try Moment.of(days * day + (@as(i64, seconds) - offset) * second + micros) };
}

/// Reads digits of a second: zeros beyond the sixth are nothing.
fn readFraction(digits: []const u8) Fault!i64 {
    if (digits.len == 0) return error.Odd;
    var micros: i64 = 0;
    for (0..6) |place| micros = micros * 10 + if (place < digits.len) digits[place] - '0' else 0;
    if (digits.len > 6) for (digits[6..]) |c| if (c != '0') return error.Odd;
    return micros;
}

/// Reads what stands behind a time, in seconds east of UTC: nothing, `Z`, `+01`, `+0130` or `+01:30`.
fn readOffset(rest: []const u8) Fault!i64 {
    if (rest.len == 0) return 0;
    if (rest.len == 1 and (rest[0] == 'Z' or rest[0] == 'z')) return 0;
    if (rest[0] != '+' and rest[0] != '-') return error.Odd;
    var offset: i64 = @as(i64, try pair(rest, 1, 0, 99)) * 3600;
    if (rest.len > 3) {
        const at: usize = if (rest[3] == ':') 4 else 3;
        if (rest.len != at + 2) {
            // `+01:` without minutes is taken as well.
            if (rest.len != 4 or at != 4) return error.Odd;
        } else offset += @as(i64, try pair(rest, at, 0, 99)) * 60;
    }
    return if (rest[0] == '-') -offset else offset;
}

/// Writes a time of day: with seconds, with microseconds where there are any, and with its offset if `zoned`.
pub fn writeTimeOfDay(text: []const u8, out: *Arena, zoned: bool) Fault!void {
    _ = try pair(text, 0, 0, 23);
    if (text.len < 5 or text[2] != ':') return error.Odd;
    _ = try pair(text, 3, 0, 59);
    try out.write(text[0..5]);
    var at: usize = 5;
    var micros: i64 = 0;
    if (at < text.len and text[at] == ':') {
        _ = try pair(text, 6, 0, 59);
        try out.write(text[5..8]);
        at = 8;
        if (at < text.len and (text[at] == '.' or text[at] == ',')) {
            const start = at + 1;
            at = start;
            while (at < text.len and std.ascii.isDigit(text[at])) at += 1;
            micros = try readFraction(text[start..at]);
        }
    } else try out.write(":00");
    if (micros > 0) {
        var digits: [7]u8 = ".000000".*;
        const number: u64 = @intCast(micros);
        printPair(digits[1..3], number / 10_000);
        printPair(digits[3..5], number / 100 % 100);
        printPair(digits[5..7], number % 100);
        try out.write(&digits);
    }
    const zone = text[at..];
    if (zoned) return writeZone(zone, out);
    if (zone.len > 0) return error.Odd;
}

/// Writes an offset of at most 14:59 hours; without minutes where there are none.
fn writeZone(zone: []const u8, out: *Arena) Fault!void {
    if (zone.len == 0 or (zone.len == 1 and (zone[0] == 'Z' or zone[0] == 'z'))) return out.write("+00");
    if (zone[0] != '+' and zone[0] != '-') return error.Odd;
    const hours = try pair(zone, 1, 0, 14);
    const from: usize = if (zone.len > 3 and zone[3] == ':') 4 else 3;
    const minutes = if (zone.len == from) 0 else try pair(zone, from, 0, 59);
    if (zone.len > from + 2) return error.Odd;
    if (hours == 0 and minutes == 0) return out.write("+00");
    try out.write(zone[0..3]);
    if (minutes == 0) return;
    try out.writeByte(':');
    try out.write(zone[from..]);
}
