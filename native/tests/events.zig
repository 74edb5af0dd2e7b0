//! Events and lines made up of the corpus: mostly as DynamoDB writes them, with odd values and broken bytes between.
const std = @import("std");
const Random = std.Random;

pub const arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000";

const values = @embedFile("../corpus/values");
const tokens = @embedFile("../corpus/tokens");
const names = @embedFile("../corpus/names");
const signs = [_][]const u8{ "\"", "\\", "{", "}", ",", " ", "\xc3", "\n", "\\u00e9", "[", "]", ":", "\\ud800", "\t", "\\" };

const fitting = [_][]const u8{
    "\"text\":{\"S\":\"with \\\"quotes\\\" \\n\"}",
    "\"short\":{\"S\":\"abcde\"}",
    "\"small\":{\"N\":\"-7\"}",
    "\"middle\":{\"N\":\"2147483647\"}",
    "\"whole\":{\"N\":\"9223372036854775807\"}",
    "\"amount\":{\"N\":\"1234.50\"}",
    "\"cents\":{\"N\":\"1.2345\"}",
    "\"most\":{\"N\":\"99999999999999999999999999999999999999\"}",
    "\"part\":{\"N\":\"0.125\"}",
    "\"real\":{\"N\":\"52.52001\"}",
    "\"double\":{\"N\":\"0.30000000000000004\"}",
    "\"flag\":{\"BOOL\":true}",
    "\"blob\":{\"B\":\"AAEC\"}",
    "\"day\":{\"S\":\"2024-02-29\"}",
    "\"at\":{\"S\":\"2026-01-31T23:59:59\"}",
    "\"zoned\":{\"S\":\"2026-01-31T23:59:59.120+01:30\"}",
    "\"opens\":{\"S\":\"10:00\"}",
    "\"closes\":{\"S\":\"10:00:00.5-08\"}",
    "\"since_day\":{\"N\":\"86400\"}",
    "\"since\":{\"N\":\"1767225600.5\"}",
    "\"since_ms\":{\"N\":\"1767225600000\"}",
    "\"since_us\":{\"N\":\"1767225600000000\"}",
    "\"any\":{\"M\":{\"a\":{\"N\":\"1.50\"},\"b\":{\"L\":[{\"S\":\"x\"}]}}}",
    "\"nested\":{\"M\":{\"x\":{\"N\":\"7\"},\"y\":{\"M\":{\"x\":{\"S\":\"deep\"}}}}}",
    "\"list\":{\"L\":[{\"S\":\"first\"},{\"SS\":[\"b\",\"a\"]},{\"M\":{\"y\":{\"L\":[{\"N\":\"2.5\"}]}}}]}",
    "\"stray\":{\"S\":\"undeclared\"}",
};

/// Gives one line of a file of the corpus.
fn pick(random: Random, comptime file: []const u8) []const u8 {
    const at = random.uintLessThan(usize, file.len - 1);
    const start = if (std.mem.lastIndexOfScalar(u8, file[0..at], '\n')) |found| found + 1 else 0;
    const end = std.mem.indexOfScalarPos(u8, file, start, '\n') orelse file.len;
    return file[start..end];
}

/// Writes into a buffer, and leaves out what does not fit into it.
pub const Writer = struct {
    buffer: []u8,
    used: usize = 0,

    fn add(w: *Writer, text: []const u8) void {
        const fits = text[0..@min(text.len, w.buffer.len - w.used)];
        @memcpy(w.buffer[w.used..][0..fits.len], fits);
        w.used += fits.len;
    }

    fn print(w: *Writer, comptime format: []const u8, arguments: anytype) void {
        const written = std.fmt.bufPrint(w.buffer[w.used..], format, arguments) catch return;
        w.used += written.len;
    }
};

fn addItem(w: *Writer, random: Random, key: usize) void {
    w.print("{{\"id\":{{\"N\":\"{d}\"}},\"sort\":{{\"S\":\"a;{d}\"}}", .{ key, key });
    for (fitting) |field| {
        if (random.boolean()) continue;
        w.add(",");
        switch (random.uintLessThan(u8, 60)) {
            0 => { // a value of another kind
                w.add(field[0..std.mem.indexOfScalar(u8, field, '{').?]);
                w.add(pick(random, values));
            },
            1 => { // another name
                w.add(pick(random, names));
                w.add(":");
                w.add(pick(random, values));
            },
            else => w.add(field),
        }
    }
    w.add("}");
}

fn addKeys(w: *Writer, random: Random, key: usize, both: bool) void {
    if (random.uintLessThan(u8, 40) == 0) return w.add(pick(random, values));
    w.print("{{\"id\":{{\"N\":\"{d}\"}}", .{key});
    if (both) w.print(",\"sort\":{{\"S\":\"a;{d}\"}}", .{key});
    w.add("}");
}

fn addToken(w: *Writer, random: Random, usual: []const u8) void {
    w.add(if (random.uintLessThan(u8, 40) == 0) pick(random, tokens) else usual);
}

/// Makes up an event as Lambda writes it.
pub fn addEvent(w: *Writer, random: Random, both_keys: bool) void {
    w.add("{\"Records\":[");
    const count = random.uintLessThan(usize, 5);
    for (0..count) |number| {
        if (number > 0) w.add(",");
        const removed = random.uintLessThan(u8, 4) == 0;
        w.print("{{\"eventID\":\"e{d}\",\"eventName\":", .{number});
        addToken(w, random, if (removed) "\"REMOVE\"" else "\"INSERT\"");
        w.add(",\"dynamodb\":{\"ApproximateCreationDateTime\":");
        addToken(w, random, "1767225600");
        w.add(",\"Keys\":");
        addKeys(w, random, number, both_keys);
        w.print(",\"SequenceNumber\":\"{d}\"", .{100_000_000_000_000_000 + number});
        if (!removed) {
            w.add(",\"NewImage\":");
            addItem(w, random, number);
        }
        if (random.uintLessThan(u8, 3) == 0) {
            w.add(",\"OldImage\":");
            addItem(w, random, number);
        }
        w.add("}");
        if (removed and random.boolean()) {
            w.add(",\"userIdentity\":");
            addToken(w, random, "{\"type\":\"Service\",\"principalId\":\"dynamodb.amazonaws.com\"}");
        }
        w.print(",\"eventSourceARN\":\"{s}\"}}", .{arn});
    }
    w.add("]}");
}

/// Makes up lines of an export.
pub fn addLines(w: *Writer, random: Random, incremental: bool, both_keys: bool) void {
    for (0..random.uintLessThan(usize, 5)) |number| {
        if (!incremental) {
            w.add("{\"Item\":");
            addItem(w, random, number);
            w.add("}\n");
            continue;
        }
        w.print("{{\"Metadata\":{{\"WriteTimestampMicros\":{{\"N\":\"{d}\"}}}},\"Keys\":", .{1_767_225_600_000_000 + number});
        addKeys(w, random, number, both_keys);
        if (random.uintLessThan(u8, 4) > 0) {
            w.add(",\"NewImage\":");
            addItem(w, random, number);
        }
        if (random.boolean()) {
            w.add(",\"OldImage\":");
            addItem(w, random, number);
        }
        w.add("}\n");
    }
}

/// Makes up lists and maps, a line each, whose elements are items.
pub fn addElements(w: *Writer, random: Random) void {
    for (0..random.uintLessThan(usize, 4)) |_| {
        const is_list = random.boolean();
        w.add(if (is_list) "{\"L\":[" else "{\"M\":{");
        for (0..random.uintLessThan(usize, 5)) |number| {
            if (number > 0) w.add(",");
            if (!is_list) {
                if (random.uintLessThan(u8, 10) == 0) w.add(pick(random, names)) else w.print("\"n{d}\"", .{number});
                w.add(":");
            }
            if (random.uintLessThan(u8, 40) == 0) {
                w.add(pick(random, values));
                continue;
            }
            w.add("{\"M\":");
            addItem(w, random, number);
            w.add("}");
        }
        w.add(if (is_list) "]}\n" else "}}\n");
    }
}

/// Breaks some bytes: changes, cuts, puts in, doubles.
pub fn damage(w: *Writer, random: Random) void {
    for (0..1 + random.uintLessThan(usize, 3)) |_| {
        if (w.used == 0) return;
        const at = random.uintLessThan(usize, w.used);
        switch (random.uintLessThan(u8, 6)) {
            0, 1 => w.buffer[at] = random.int(u8),
            2 => { // cut
                const end = @min(w.used, at + 1 + random.uintLessThan(usize, 12));
                std.mem.copyForwards(u8, w.buffer[at..], w.buffer[end..w.used]);
                w.used -= end - at;
            },
            3 => insert(w, at, signs[random.uintLessThan(usize, signs.len)]),
            4 => { // double
                var some: [200]u8 = undefined;
                const from = random.uintLessThan(usize, w.used);
                const length = @min(w.used - from, 1 + random.uintLessThan(usize, some.len - 1));
                @memcpy(some[0..length], w.buffer[from..][0..length]);
                insert(w, at, some[0..length]);
            },
            else => w.used = at, // the end is missing
        }
    }
}

fn insert(w: *Writer, at: usize, text: []const u8) void {
    if (w.used + text.len > w.buffer.len) return;
    std.mem.copyBackwards(u8, w.buffer[at + text.len ..], w.buffer[at..w.used]);
    @memcpy(w.buffer[at..][0..text.len], text);
    w.used += text.len;
}
