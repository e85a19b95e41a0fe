// Counts the users of each e-mail provider, in state that the host keeps.

import * as state from "../sdk/js/state.js";
import { Reject, fields as plugin } from "../sdk/js/tidemill.js";

function read(bytes) {
    return bytes === null ? 0 : Number(new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true));
}

function written(count) {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigInt64(0, BigInt(count), true);
    return new Uint8Array(view.buffer);
}

export const fields = plugin({
    reads: { email: "text" },
    writes: { email_provider: "text", provider_count: "int" },
    row(_, email) {
        const at = email.lastIndexOf("@");
        if (at < 0) throw new Reject(`\`${email}\` is not an e-mail address`);
        const provider = email.slice(at + 1);
        const count = read(state.get(provider)) + 1;
        state.set(provider, written(count));
        return [provider, count];
    },
});
