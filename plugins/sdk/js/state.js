// Small values by key that the host keeps for the stage, for each partition on its own: they survive restarts and other builds of the
// plugin. What a call sets counts only if the call succeeds, and is undone if its records are delivered again.
//
//     import * as state from "../sdk/js/state.js";
//
// Keys are strings or Uint8Array, values are Uint8Array. What is beyond the stage's limit is a Reject that says so; nothing was set then.
// Ask once for many keys where you can: each call leaves the sandbox.

import host from "tidemill:plugin/state@0.1.0";

import { Reject, utf8 } from "./tidemill.js";

const bytes = (key) => (typeof key === "string" ? utf8(key) : key);

/** The value of a key, or null. */
export const get = (key) => getAll([key])[0];

/** The values of several keys, in their order. */
export const getAll = (keys) => within(() => host.get(keys.map(bytes)));

export const set = (key, value) => setAll([[key, value]]);

export const remove = (key) => setAll([[key, null]]);

/** Sets several keys, given as pairs, and removes those with null: all of them or, with an error, none. */
export const setAll = (entries) => within(() => host.set(entries.map(([key, value]) => ({ key: bytes(key), value }))));

function within(call) {
    try {
        return call();
    } catch (error) {
        // What an import answers as an error is thrown as the payload of one.
        throw typeof error.payload === "string" ? new Reject(error.payload) : error;
    }
}
