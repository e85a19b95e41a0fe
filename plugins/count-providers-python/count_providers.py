"""Counts the users of each e-mail provider, in state that the host keeps."""

import tidemill
from tidemill import state


class Fields(tidemill.Fields):
    reads = {"email": tidemill.TEXT}
    writes = {"email_provider": tidemill.TEXT, "provider_count": tidemill.INT}

    def row(self, email):
        _, at, provider = email.rpartition("@")
        if not at:
            raise tidemill.Reject(f"`{email}` is not an e-mail address")
        count = int.from_bytes(state.get(provider) or b"", "little", signed=True) + 1
        state.set(provider, count.to_bytes(8, "little", signed=True))
        return [provider, count]
