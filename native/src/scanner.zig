//! Reads JSON as Lambda and DynamoDB write it: token by token, with no blank between two of them.
//!
//! Every byte is a stranger's. A scanner reads nothing outside the bytes that it was given, and what it does not expect
//! is a fault, never a guess.
const std = @import("std");

/// Odd: the record at hand is left to the reference. Broken: this is no JSON, or not spelled without blanks.
pub const Fault = error{ Odd, Broken, OutOfMemory };

/// A string as it stands in the bytes, without its quotes.
pub const Text = struct {
    start: usize,
    end: usize,
    /// It holds a backslash.
    escaped: bool = false,
    /// It may hold a byte that is not ASCII.
    high: bool = false,

    pub fn len(text: Text) usize {
        return text.end - text.start;
    }
};

/// Levels of arrays and objects in which a record of DynamoDB stays: 32 of its documents, with two in JSON each
/// (DynamoDB Developer Guide, "Quotas": nested attribute depth). What nests deeper is left to the reference.
pub const max_depth = 100;

/// Levels that are followed at all.
const max_levels = 4096;

pub const width = 32;
pub const Block = @Vector(width, u8);
const Flags = @Vector(width, bool);

pub const Scanner = struct {
    bytes: []const u8,
    at: usize = 0,

    /// The byte at hand; NUL, which JSON never has between tokens, behind the last.
    pub inline fn peek(s: *const Scanner) u8 {
        return if (s.at < s.bytes.len) s.bytes[s.at] else 0;
    }

    /// Passes over a token if it is there.
    pub inline fn take(s: *Scanner, comptime token: []const u8) bool {
        if (s.at + token.len > s.bytes.len) return false;
        if (!std.mem.eql(u8, s.bytes[s.at..][0..token.len], token)) return false;
        s.at += token.len;
        return true;
    }

    /// Passes over the brace that ends an attribute value: one with a second type is odd.
    pub inline fn close(s: *Scanner) Fault!void {
        if (s.peek() != '}') return error.Odd;
        s.at += 1;
    }

    pub inline fn slice(s: *const Scanner, text: Text) []const u8 {
        return s.bytes[text.start..text.end];
    }

    /// Reads a string from behind its opening quote on, and passes over the closing one. It is UTF-8.
    pub inline fn string(s: *Scanner) Fault!Text {
        if (s.shortString()) |text| {
            s.at = text.end + 1;
            return text;
        }
        const text = try scan(s.bytes, s.at, true);
        s.at = text.end + 1;
        return text;
    }

    /// Passes over a string from behind its opening quote on; whether it is UTF-8 does not matter where nothing takes it.
    inline fn skipString(s: *Scanner) Fault!void {
        const text = s.shortString() orelse try scan(s.bytes, s.at, false);
        s.at = text.end + 1;
    }

    /// What most strings are: ASCII without escapes, and shorter than a vector. Null for all others.
    inline fn shortString(s: *const Scanner) ?Text {
        if (s.at + width > s.bytes.len) return null;
        const block: Block = s.bytes[s.at..][0..width].*;
        const quotes = bits(block == all('"'));
        const others = bits(block == all('\\')) | bits(block < all(0x20)) | bits(block >= all(0x80));
        const before = quotes ^ (quotes -% 1);
        if (quotes == 0 or others & before != 0) return null;
        return .{ .start = s.at, .end = s.at + @ctz(quotes) };
    }

    inline fn skipName(s: *Scanner) Fault!void {
        if (!s.take("\"")) return error.Broken;
        try s.skipString();
        if (!s.take(":")) return error.Broken;
    }

    /// Passes over any JSON value, `depth` levels down. Odd where it nests too deep.
    pub fn skip(s: *Scanner, depth: u32) Fault!void {
        if (try s.levels() + depth > max_depth) return error.Odd;
    }

    /// Passes over any JSON value; gives how many levels of arrays and objects it has.
    pub fn levels(s: *Scanner) Fault!u32 {
        var objects: [max_levels / 64]u64 = undefined;
        var level: u32 = 0;
        var deepest: u32 = 0;
        while (true) {
            switch (s.peek()) {
                '{' => {
                    s.at += 1;
                    deepest = @max(deepest, level + 1);
                    if (!s.take("}")) {
                        if (level == max_levels) return error.Broken;
                        objects[level / 64] = mark(objects[level / 64], level, true);
                        level += 1;
                        try s.skipName();
                        continue;
                    }
                },
                '[' => {
                    s.at += 1;
                    deepest = @max(deepest, level + 1);
                    if (!s.take("]")) {
                        if (level == max_levels) return error.Broken;
                        objects[level / 64] = mark(objects[level / 64], level, false);
                        level += 1;
                        continue;
                    }
                },
                '"' => {
                    s.at += 1;
                    try s.skipString();
                },
                't' => if (!s.take("true")) return error.Broken,
                'f' => if (!s.take("false")) return error.Broken,
                'n' => if (!s.take("null")) return error.Broken,
                else => _ = try s.numeral(),
            }
            // What the value that has been passed over is part of.
            while (level > 0) {
                const in_object = objects[(level - 1) / 64] >> @intCast((level - 1) % 64) & 1 == 1;
                if (s.take(",")) {
                    if (in_object) try s.skipName();
                    break;
                }
                if (!(if (in_object) s.take("}") else s.take("]"))) return error.Broken;
                level -= 1;
            } else return deepest;
        }
    }

    fn mark(word: u64, level: u32, is_object: bool) u64 {
        const bit = @as(u64, 1) << @intCast(level % 64);
        return if (is_object) word | bit else word & ~bit;
    }

    /// Passes over JSON's own number.
    pub fn numeral(s: *Scanner) Fault![]const u8 {
        const start = s.at;
        if (s.peek() == '-') s.at += 1;
        if (s.peek() == '0') s.at += 1 else try s.digits();
        if (s.peek() == '.') {
            s.at += 1;
            try s.digits();
        }
        if (s.peek() | 0x20 == 'e') {
            s.at += 1;
            if (s.peek() == '+' or s.peek() == '-') s.at += 1;
            try s.digits();
        }
        return s.bytes[start..s.at];
    }

    fn digits(s: *Scanner) Fault!void {
        const start = s.at;
        while (std.ascii.isDigit(s.peek())) s.at += 1;
        if (s.at == start) return error.Broken;
    }
};

pub inline fn all(c: u8) Block {
    return @splat(c);
}

pub inline fn bits(flags: Flags) u32 {
    return @bitCast(flags);
}

inline fn either(a: Flags, b: Flags) Flags {
    return @select(bool, a, @as(Flags, @splat(true)), b);
}

inline fn both(a: Flags, b: Flags) Flags {
    return @select(bool, a, b, @as(Flags, @splat(false)));
}

/// Counts the digits from `start` on.
pub inline fn countDigits(bytes: []const u8, start: usize) usize {
    var at = start;
    while (at + width <= bytes.len) {
        const block: Block = bytes[at..][0..width].*;
        const others = bits(block -% all('0') > all(9));
        if (others != 0) return at + @ctz(others) - start;
        at += width;
    }
    while (at < bytes.len and std.ascii.isDigit(bytes[at])) at += 1;
    return at - start;
}

/// Finds where a string ends whose first character is at `start`: a vector of bytes at a time.
fn scan(bytes: []const u8, start: usize, comptime checked: bool) Fault!Text {
    var text = Text{ .start = start, .end = start };
    var at = start;
    var pending = false; // the block before ended in bytes that are not ASCII
    while (at + width <= bytes.len and at >= 3) {
        const block: Block = bytes[at..][0..width].*;
        const stops = bits(block == all('"')) | bits(block == all('\\')) | bits(block < all(0x20));
        if (checked) {
            const until = stops ^ (stops -% 1);
            const highs = bits(block >= all(0x80)) & until;
            if (highs != 0 or pending) {
                if (faultsOfUtf8(bytes, at, block) & until != 0) return error.Odd;
                text.high = true;
                pending = highs != 0;
            }
        }
        if (stops == 0) {
            at += width;
            continue;
        }
        at += @ctz(stops);
        switch (bytes[at]) {
            '"' => {
                text.end = at;
                return text;
            },
            '\\' => {
                at += try escapeLength(bytes, at);
                text.escaped = true;
                pending = false;
            },
            else => return error.Broken,
        }
    }
    return scanBytes(bytes, text, at, checked);
}

/// Does the same byte by byte, where a vector would reach beyond the bytes.
fn scanBytes(bytes: []const u8, begun: Text, from: usize, comptime checked: bool) Fault!Text {
    var text = begun;
    var at = from;
    while (at < bytes.len) {
        switch (bytes[at]) {
            '"' => {
                text.end = at;
                if (checked) {
                    const found = bytes[text.start..at];
                    if (!std.unicode.utf8ValidateSlice(found)) return error.Odd;
                    for (found) |c| text.high = text.high or c >= 0x80;
                }
                return text;
            },
            '\\' => {
                at += try escapeLength(bytes, at);
                text.escaped = true;
            },
            0...0x1f => return error.Broken,
            else => at += 1,
        }
    }
    return error.Broken;
}

fn escapeLength(bytes: []const u8, at: usize) Fault!usize {
    if (at + 1 >= bytes.len) return error.Broken;
    switch (bytes[at + 1]) {
        '"', '\\', '/', 'b', 'f', 'n', 'r', 't' => return 2,
        'u' => {
            if (at + 6 > bytes.len) return error.Broken;
            for (bytes[at + 2 .. at + 6]) |c| if (!std.ascii.isHex(c)) return error.Broken;
            return 6;
        },
        else => return error.Broken,
    }
}

/// Tells where UTF-8 is wrong in the block at `at`: each byte is held against the three before it.
inline fn faultsOfUtf8(bytes: []const u8, at: usize, block: Block) u32 {
    const before: Block = bytes[at - 1 ..][0..width].*;
    const before2: Block = bytes[at - 2 ..][0..width].*;
    const before3: Block = bytes[at - 3 ..][0..width].*;
    const continues = (block & all(0xc0)) == all(0x80);
    const must = either(before >= all(0xc0), either(before2 >= all(0xe0), before3 >= all(0xf0)));
    const impossible = either(block >= all(0xf5), (block & all(0xfe)) == all(0xc0));
    const overlong = either(both(before == all(0xe0), block < all(0xa0)), both(before == all(0xf0), block < all(0x90)));
    const beyond = either(both(before == all(0xed), block > all(0x9f)), both(before == all(0xf4), block > all(0x8f)));
    return (bits(continues) ^ bits(must)) | bits(impossible) | bits(overlong) | bits(beyond);
}

/// Writes JSON without the blanks between its tokens; gives how long it is. Broken where a blank parts two words,
/// or a string does not end: then it is no JSON.
pub fn compact(bytes: []const u8, out: []u8) Fault!usize {
    var at: usize = 0;
    var used: usize = 0;
    var parted = false;
    while (at < bytes.len) {
        const c = bytes[at];
        switch (c) {
            ' ', '\t', '\n', '\r' => {
                at += 1;
                parted = true;
                continue;
            },
            '"' => {
                const end = (try scan(bytes, at + 1, false)).end + 1;
                @memcpy(out[used..][0 .. end - at], bytes[at..end]);
                used += end - at;
                at = end;
            },
            else => {
                if (parted and used > 0 and isOfWord(c) and isOfWord(out[used - 1])) return error.Broken;
                out[used] = c;
                used += 1;
                at += 1;
            },
        }
        parted = false;
    }
    return used;
}

fn isOfWord(c: u8) bool {
    return std.ascii.isAlphanumeric(c) or c == '+' or c == '-' or c == '.';
}
