// Write Tidemill plugins in JavaScript: say what is read and written, and decide row by row.
//
//     import { fields as plugin } from "../sdk/js/tidemill.js";
//
//     export const fields = plugin({
//         reads: { name: "text" },
//         writes: { loud: "text" },
//         row: (state, name) => [name.toUpperCase()],
//     });
//
// Texts and JSON are strings, bytes are Uint8Array, timestamps are milliseconds since 1970. Integers are plain numbers: exact up to 2⁵³.
// A kind with `?` behind it, as in "text?", may be null.

import store from "wasi:config/store@0.2.0-rc.1";

/** What `row` returns to leave a row out by intent. */
export const DROP = Symbol("drop");

/** Thrown by `row`: this record cannot be processed, for the reason given. */
export class Reject extends Error {}

/** Thrown by `setup`: these settings are not possible, for the reason given. */
export class Refuse extends Error {}

/** What `row` returns to remove a row from the table: the written values, of which the table's key counts. */
export class Delete {
    constructor(values) {
        this.values = values;
    }
}

const noSettings = (settings) => {
    const names = Object.keys(settings);
    if (names.length > 0) throw new Refuse(`unknown settings: ${names.join(", ")}`);
};

/** A `fields` plugin. `setup` is called once with the settings and returns what `row` is given as its first argument. */
export function fields({ reads, writes, setup = noSettings, row }) {
    const contract = { reads: declare(reads), writes: declare(writes) };
    const empty = contract.writes.map(() => null);
    let state;

    function decide(values, number, outcome) {
        try {
            const result = row(state, ...values);
            if (result === DROP) outcome.dropped.push(number);
            else if (result instanceof Delete) outcome.deleted.push(number);
            return result === DROP ? empty : result instanceof Delete ? result.values : result;
        } catch (error) {
            if (!(error instanceof Reject)) throw error;
            outcome.rejected.push({ row: number, reason: error.message });
            return empty;
        }
    }

    return {
        start() {
            try {
                state = setup(Object.fromEntries(store.getAll()));
            } catch (error) {
                throw error instanceof Refuse ? error.message : error;
            }
            return contract;
        },
        process({ rows, columns }) {
            const read = columns.map(readColumn);
            const written = contract.writes.map(() => []);
            const outcome = { columns: [], dropped: [], deleted: [], rejected: [] };
            for (let number = 0; number < rows; number++) {
                const values = decide(read.map((column) => column[number]), number, outcome);
                if (values.length !== written.length) throw new Error(`row returned ${values.length} values for ${written.length} fields`);
                values.forEach((value, at) => written[at].push(value));
            }
            outcome.columns = contract.writes.map((field, at) => writeColumn(field.kind, written[at]));
            return outcome;
        },
    };
}

function declare(fields) {
    return Object.entries(fields).map(([name, kind]) => ({ name, kind: kind.replace("?", ""), optional: kind.endsWith("?") }));
}

function readColumn({ values: { tag, val }, nulls }) {
    let values = val;
    if (tag === "text" || tag === "json" || tag === "bytes") {
        const cut = tag === "bytes" ? (start, end) => val.data.slice(start, end) : (start, end) => decode(val.data, start, end);
        let start = 0;
        values = Array.from(val.ends, (end) => {
            const value = cut(start, end);
            start = end;
            return value;
        });
    }
    for (const row of nulls) values[row] = null;
    return values;
}

const PLAIN = { boolean: ["booleans", false], int: ["ints", 0], float: ["floats", 0], timestamp: ["timestamps", 0] };

function writeColumn(kind, values) {
    const nulls = [];
    values.forEach((value, row) => value == null && nulls.push(row));
    if (kind in PLAIN) {
        const [tag, zero] = PLAIN[kind];
        return { values: { tag, val: values.map((value) => value ?? zero) }, nulls };
    }
    const bytes = [];
    const ends = values.map((value) => {
        if (kind === "bytes") for (const byte of value ?? []) bytes.push(byte);
        else encode(value ?? "", bytes);
        return bytes.length;
    });
    return { values: { tag: kind, val: { data: Uint8Array.from(bytes), ends } }, nulls };
}

// QuickJS has neither TextDecoder nor TextEncoder.
function decode(data, start, end) {
    let text = "";
    while (start < end) {
        const byte = data[start++];
        if (byte < 0x80) text += String.fromCharCode(byte);
        else if (byte < 0xe0) text += String.fromCharCode(((byte & 31) << 6) | (data[start++] & 63));
        else if (byte < 0xf0) text += String.fromCharCode(((byte & 15) << 12) | ((data[start++] & 63) << 6) | (data[start++] & 63));
        else text += String.fromCodePoint(((byte & 7) << 18) | ((data[start++] & 63) << 12) | ((data[start++] & 63) << 6) | (data[start++] & 63));
    }
    return text;
}

/** A string as UTF-8. */
export function utf8(text) {
    const bytes = [];
    encode(text, bytes);
    return Uint8Array.from(bytes);
}

function encode(text, bytes) {
    for (const character of text) {
        let code = character.codePointAt(0);
        if (code >= 0xd800 && code < 0xe000) code = 0xfffd; // half of a character: no UTF-8 can hold it
        if (code < 0x80) bytes.push(code);
        else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
        else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
        else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    }
}
