//! Items: their attributes go to the columns that take them, to the key, or are counted.
const std = @import("std");
const documents = @import("documents.zig");
const names_of = @import("names.zig");
const numbers = @import("numbers.zig");
const pass_of = @import("pass.zig");
const strings = @import("strings.zig");
const values = @import("values.zig");
const Fault = @import("scanner.zig").Fault;
const Pass = pass_of.Pass;
const none = names_of.none;

pub const Use = struct {
    /// The key is read from among the attributes, as in a full export's lines.
    keys: bool = false,
    /// The key has given its columns their texts: the item's own are passed over.
    without_keys: bool = false,
    /// Nothing is counted, and nothing refused, where an item ends.
    deleted: bool = false,
};

/// Levels of JSON around an attribute's value in a record.
const value_depth = 4;

/// Reads an item, and gives the columns their texts.
pub fn read(p: *Pass, comptime use: Use) Fault!void {
    if (!p.in.take("{")) return error.Odd;
    var guess: u32 = 0;
    var before: u32 = none;
    if (!p.in.take("}")) while (true) {
        const which = try p.attributes.read(&p.in, guess, &p.spare, &p.unknown) orelse try p.attributes.addUnknown(p.unknown);
        const name = &p.attributes.list.items[which];
        if (which != guess and before != none) p.attributes.list.items[before].next = which;
        before = which;
        guess = name.next;
        // Of two attributes with one name, JSON's readers take the last.
        const again = name.turn == p.turn;
        name.turn = p.turn;
        if (use.without_keys and name.key != none) {
            try p.in.skip(value_depth);
        } else if (again) {
            return error.Odd;
        } else {
            if (use.keys and name.key != none) {
                const start = p.in.at;
                try readKey(p, name.key);
                p.in.at = start;
            }
            if (name.leads_to != none) {
                try values.putNode(p, name.leads_to, value_depth);
            } else if (name.key != none) {
                try p.in.skip(value_depth);
            } else try readUndeclared(p, which, use);
        }
        if (p.in.take(",")) continue;
        if (p.in.take("}")) break;
        return error.Broken;
    };
}

fn readUndeclared(p: *Pass, which: u32, comptime use: Use) Fault!void {
    switch (p.plan.undeclared) {
        .extra => {
            const start = p.extra.used;
            try documents.write(p, &p.extra, value_depth);
            try p.extras.append(p.gpa, .{ .name = which, .start = start, .end = p.extra.used });
        },
        .ignore => {
            if (!use.deleted) try p.ignored.append(p.gpa, which);
            try p.in.skip(value_depth);
        },
        .reject => {
            if (!use.deleted) return error.Odd;
            try p.in.skip(value_depth);
        },
    }
}

/// Writes the undeclared attributes as one JSON object, sorted by name; NULL where there are none.
pub fn putExtra(p: *Pass) Fault!void {
    if (p.plan.undeclared != .extra) return;
    const column = p.table.columns - 1;
    if (p.extras.items.len == 0) return p.table.putNull(column);
    std.mem.sortUnstable(pass_of.Extra, p.extras.items, p.attributes.list.items, isBefore);
    const mark = p.out.used;
    for (p.extras.items, 0..) |extra, place| {
        try p.out.writeByte(if (place == 0) '{' else ',');
        try writeName(p, p.attributes.list.items[extra.name].text);
        try p.out.writeByte(':');
        try p.out.write(p.extra.raw.bytes[extra.start..extra.end]);
    }
    try p.out.writeByte('}');
    p.table.put(column, p.takeWritten(mark));
}

fn isBefore(names: []const names_of.Name, a: pass_of.Extra, b: pass_of.Extra) bool {
    return std.mem.lessThan(u8, names[a.name].text, names[b.name].text);
}

fn writeName(p: *Pass, text: []const u8) Fault!void {
    if (text.len > documents.max_text_bytes) return error.Odd;
    try strings.writeTextAsJson(&p.out, text);
}

/// Reads `Keys`: an object of the key's attributes alone.
pub fn readKeys(p: *Pass) Fault!void {
    if (!p.in.take("{")) return error.Odd;
    var guess: u32 = 0;
    while (true) {
        const which = try p.attributes.read(&p.in, guess, &p.spare, &p.unknown) orelse return error.Odd;
        const key = p.attributes.list.items[which].key;
        if (key == none) return error.Odd;
        try readKey(p, key);
        guess = which + 1;
        if (p.in.take(",")) continue;
        if (p.in.take("}")) break;
        return error.Odd;
    }
}

fn readKey(p: *Pass, key: u32) Fault!void {
    if (p.keys[key].tag != 0) return error.Odd;
    const tag: u8 = if (p.in.take("{\"S\":\"")) 'S' else if (p.in.take("{\"N\":\"")) 'N' else if (p.in.take("{\"B\":\"")) 'B' else return error.Odd;
    p.keys[key] = .{ .tag = tag, .string = try p.in.string() };
    try p.in.close();
}

/// Writes `_key`: `S=2013-01-01;N=1545;`.
pub fn putKey(p: *Pass) Fault!void {
    const at = p.in.at;
    const mark = p.out.used;
    for (p.keys[0..p.plan.keys]) |part| {
        if (part.tag == 0) return error.Odd;
        try p.out.write(&.{ part.tag, '=' });
        const string = part.string;
        if (part.tag == 'N') {
            p.in.at = string.start;
            try numbers.read(&p.in, &p.number, &p.number_spare);
            try p.out.write(p.number.plain);
        } else {
            const begun = p.out.used;
            if (string.escaped) try strings.unescape(&p.out, p.in.slice(string)) else try p.out.write(p.in.slice(string));
            try strings.escapeKey(&p.out, begun);
        }
        try p.out.writeByte(';');
    }
    p.in.at = at;
    p.putSystem(.key, p.takeWritten(mark));
}
