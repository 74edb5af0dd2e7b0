//! Names of attributes and map keys, found again where they stood before: after the same name as last time.
//!
//! Names are data. Any is found by its text, however it is spelled, and none is ever a pattern or a part of one.
const std = @import("std");
const scanner = @import("scanner.zig");
const strings = @import("strings.zig");
const Arena = @import("arena.zig").Arena;
const Fault = scanner.Fault;
const Scanner = scanner.Scanner;
const Block = scanner.Block;
const width = scanner.width;
const Allocator = std.mem.Allocator;

pub const none: u32 = std.math.maxInt(u32);

pub const Name = struct {
    text: []const u8,
    /// `"name":` as it stands in the JSON; empty where it may be spelled in several ways, so that it is not guessed.
    spelled: []const u8 = "",
    head: Block = @splat(0),
    mask: Block = @splat(0),
    /// The name that came after this one last time.
    next: u32 = none,
    /// What it leads to, as whoever added it says.
    leads_to: u32 = none,
    key: u32 = none,
    /// Of items: how many have it, if nothing declares it.
    count: u32 = 0,
    /// Number of the last object that had it.
    turn: u64 = 0,

    fn spell(name: *Name, spelled: []const u8) void {
        name.spelled = spelled;
        const begin = @min(spelled.len, width);
        var head: [width]u8 = @splat(0);
        var mask: [width]u8 = @splat(0);
        @memcpy(head[0..begin], spelled[0..begin]);
        @memset(mask[0..begin], 0xff);
        name.head = head;
        name.mask = mask;
    }

    inline fn stands(name: *const Name, bytes: []const u8, at: usize) bool {
        const length = name.spelled.len;
        if (at + @max(length, width) > bytes.len) return false;
        const block: Block = bytes[at..][0..width].*;
        if (@reduce(.Or, (block & name.mask) ^ name.head) != 0) return false;
        return length <= width or std.mem.eql(u8, bytes[at + width .. at + length], name.spelled[width..]);
    }
};

pub const Names = struct {
    gpa: Allocator,
    /// What names that are not the caller's are copied to.
    texts: Allocator,
    list: std.ArrayList(Name) = .empty,
    slots: []u32 = &.{},
    seed: u64,

    /// The seed keeps strangers from finding names that share a slot.
    pub fn init(gpa: Allocator, texts: Allocator, seed: u64) Names {
        return .{ .gpa = gpa, .texts = texts, .seed = seed };
    }

    pub fn deinit(names: *Names) void {
        names.list.deinit(names.gpa);
        names.gpa.free(names.slots);
    }

    /// Takes over the names of another, which outlives it.
    pub fn copy(names: *Names, other: *const Names) Fault!void {
        try names.list.appendSlice(names.gpa, other.list.items);
        names.slots = try names.gpa.dupe(u32, other.slots);
        names.seed = other.seed;
    }

    pub fn find(names: *const Names, text: []const u8) ?u32 {
        if (names.slots.len == 0) return null;
        var slot = names.hash(text);
        while (names.slots[slot] != none) : (slot = (slot + 1) & (names.slots.len - 1)) {
            if (std.mem.eql(u8, names.list.items[names.slots[slot]].text, text)) return names.slots[slot];
        }
        return null;
    }

    /// Gives the number of a name that its owner keeps; adds it where it is new.
    pub fn add(names: *Names, text: []const u8) Fault!u32 {
        if (names.find(text)) |found| return found;
        try names.makeRoom();
        const number: u32 = @intCast(names.list.items.len);
        var name = Name{ .text = text, .next = number + 1 };
        if (isPlain(text)) {
            const spelled = try names.texts.alloc(u8, text.len + 3);
            spelled[0] = '"';
            @memcpy(spelled[1 .. text.len + 1], text);
            @memcpy(spelled[text.len + 1 ..], "\":");
            name.spell(spelled);
        }
        try names.list.append(names.gpa, name);
        names.put(text, number);
        return number;
    }

    fn makeRoom(names: *Names) Fault!void {
        if (names.list.items.len == none - 1) return error.OutOfMemory;
        if ((names.list.items.len + 1) * 2 <= names.slots.len) return;
        const slots = try names.gpa.alloc(u32, @max(64, names.slots.len * 2));
        @memset(slots, none);
        names.gpa.free(names.slots);
        names.slots = slots;
        for (names.list.items, 0..) |name, number| names.put(name.text, @intCast(number));
    }

    fn put(names: *Names, text: []const u8, number: u32) void {
        var slot = names.hash(text);
        while (names.slots[slot] != none) slot = (slot + 1) & (names.slots.len - 1);
        names.slots[slot] = number;
    }

    fn hash(names: *const Names, text: []const u8) usize {
        return @as(usize, @truncate(std.hash.Wyhash.hash(names.seed, text))) & (names.slots.len - 1);
    }

    /// Reads the name at hand and its colon; `guess` is the one that is expected. Null for one that is not among these:
    /// `unknown` is where it stands.
    pub inline fn read(names: *const Names, s: *Scanner, guess: u32, spare: *Arena, unknown: *Unknown) Fault!?u32 {
        if (guess < names.list.items.len) {
            const name = &names.list.items[guess];
            if (name.spelled.len > 0 and name.stands(s.bytes, s.at)) {
                s.at += name.spelled.len;
                return guess;
            }
        }
        return names.look(s, spare, unknown);
    }

    fn look(names: *const Names, s: *Scanner, spare: *Arena, unknown: *Unknown) Fault!?u32 {
        const start = s.at;
        if (!s.take("\"")) return error.Broken;
        const string = try s.string();
        if (!s.take(":")) return error.Broken;
        var text = s.slice(string);
        if (string.escaped) {
            const mark = spare.used;
            try strings.unescape(spare, text);
            text = spare.since(mark);
            spare.used = mark;
        }
        if (names.find(text)) |found| return found;
        unknown.* = .{ .text = text, .spelled = if (string.escaped) "" else s.bytes[start..s.at] };
        return null;
    }

    /// Adds a name that `read` did not know. The bytes that it stands in outlive these names; what has been unescaped is copied.
    pub fn addUnknown(names: *Names, unknown: Unknown) Fault!u32 {
        try names.makeRoom();
        const number: u32 = @intCast(names.list.items.len);
        const text = if (unknown.spelled.len > 0) unknown.text else try names.texts.dupe(u8, unknown.text);
        var name = Name{ .text = text };
        name.spell(unknown.spelled);
        try names.list.append(names.gpa, name);
        names.put(text, number);
        return number;
    }
};

/// A name that is not among those expected.
pub const Unknown = struct {
    text: []const u8 = "",
    /// Empty where it holds escapes.
    spelled: []const u8 = "",
};

/// Tells whether JSON has one usual spelling of a name: without any escape.
fn isPlain(text: []const u8) bool {
    for (text) |c| if (c < 0x20 or c == '"' or c == '\\') return false;
    return true;
}
