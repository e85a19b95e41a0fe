"""Write Tidemill plugins in Python: a class that names what it reads and writes, and decides row by row.

    import tidemill

    class Fields(tidemill.Fields):
        reads = {"name": tidemill.TEXT}
        writes = {"loud": tidemill.TEXT}

        def row(self, name):
            return [name.upper()]

The class is called `Fields`: componentize-py looks for that name. Texts and JSON are `str`, bytes are `bytes`, timestamps are milliseconds
since 1970 as `int`. `optional(kind)` may be None.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.fields import Outcome
from wit_world.imports import state as host_state, store, types
from wit_world.imports.types import Kind

TEXT, BYTES, BOOLEAN, INT, FLOAT = Kind.TEXT, Kind.BYTES, Kind.BOOLEAN, Kind.INT, Kind.FLOAT
TIMESTAMP, JSON = Kind.TIMESTAMP, Kind.JSON

#: What `row` returns to leave a row out by intent.
DROP = object()


class Reject(Exception):
    """Raised by `row`: this record cannot be processed, for the reason given."""


class Refuse(Exception):
    """Raised by `setup`: these settings are not possible, for the reason given."""


class Delete(list):
    """What `row` returns to remove a row from the table: the written values, of which the table's key counts."""


def optional(kind):
    return (kind,)


def retry(reason):
    """Something outside is not ready: `raise tidemill.retry("…")` and the same batch comes again."""
    return Err(types.Failure_Retry(reason))


class state:
    """Small values by key that the host keeps for the stage, for each partition on its own: they survive restarts and other builds of the
    plugin. What a call sets counts only if the call succeeds, and is undone if its records are delivered again.

    Keys are `str` or `bytes`, values are `bytes`. What is beyond the stage's limit is a `Reject` that says so; nothing was set then. Ask once
    for many keys where you can: each call leaves the sandbox.
    """

    @staticmethod
    def get(key):
        """The value of a key, or None."""
        return state.get_all([key])[0]

    @staticmethod
    def get_all(keys):
        """The values of several keys, in their order."""
        return _within(host_state.get, [_bytes(key) for key in keys])

    @staticmethod
    def set(key, value):
        state.set_all([(key, value)])

    @staticmethod
    def remove(key):
        state.set_all([(key, None)])

    @staticmethod
    def set_all(entries):
        """Sets several keys, given as pairs, and removes those with None: all of them or, with an error, none."""
        _within(host_state.set, [host_state.Entry(_bytes(key), value) for key, value in entries])


def _bytes(key):
    return key.encode() if isinstance(key, str) else key


def _within(call, argument):
    try:
        return call(argument)
    except Err as error:
        raise Reject(error.value)


class Fields(exports.Fields):
    reads = {}
    writes = {}

    def setup(self, settings):
        """Called once, with the settings as texts by name. Raises `Refuse`."""
        if settings:
            raise Refuse(f"unknown settings: {', '.join(sorted(settings))}")

    def row(self, *values):
        """From the values read to a list of the values written, in the order of the declarations."""
        raise NotImplementedError

    def start(self):
        try:
            self.setup(dict(store.get_all()))
        except Refuse as error:
            raise Err(str(error))
        # componentize-py makes a new object for each call: the one that knows the settings is kept here.
        type(self)._started = self
        return types.Contract(_fields(self.reads), _fields(self.writes))

    def process(self, batch):
        return type(self)._started._process(batch)

    def _process(self, batch):
        columns = [_read(column, batch.rows) for column in batch.columns]
        width = len(self.writes)
        empty = [None] * width
        written, dropped, deleted, rejected = [], [], [], []
        for number in range(batch.rows):
            try:
                result = self.row(*[column[number] for column in columns])
            except Reject as error:
                rejected.append(types.Rejection(number, str(error)))
                result = empty
            if result is DROP:
                dropped.append(number)
                result = empty
            elif isinstance(result, Delete):
                deleted.append(number)
            if len(result) != width:
                raise ValueError(f"row returned {len(result)} values for {width} fields")
            written.append(result)
        kinds = [field.kind for field in _fields(self.writes)]
        columns = [_write(kind, [row[at] for row in written]) for at, kind in enumerate(kinds)]
        return Outcome(columns, dropped, deleted, rejected)


def _fields(declared):
    return [
        types.Field(name, kind[0], True) if isinstance(kind, tuple) else types.Field(name, kind, False)
        for name, kind in declared.items()
    ]


def _read(column, rows):
    values = column.values.value
    if isinstance(values, types.Buffer):
        data, start, cut = values.data, 0, []
        for end in values.ends:
            cut.append(data[start:end])
            start = end
        values = cut if isinstance(column.values, types.Values_Bytes) else [text.decode() for text in cut]
    if column.nulls:
        values = list(values)
        for row in column.nulls:
            values[row] = None
    return values


_PLAIN = {
    BOOLEAN: (types.Values_Booleans, False),
    INT: (types.Values_Ints, 0),
    FLOAT: (types.Values_Floats, 0.0),
    TIMESTAMP: (types.Values_Timestamps, 0),
}
_BUFFERED = {TEXT: types.Values_Text, JSON: types.Values_Json, BYTES: types.Values_Bytes}


def _write(kind, values):
    nulls = [row for row, value in enumerate(values) if value is None]
    if kind in _PLAIN:
        make, zero = _PLAIN[kind]
        return types.Column(make([zero if value is None else value for value in values]), nulls)
    pieces = [b"" if value is None else value if kind is BYTES else value.encode() for value in values]
    ends, end = [], 0
    for piece in pieces:
        end += len(piece)
        ends.append(end)
    return types.Column(_BUFFERED[kind](types.Buffer(b"".join(pieces), ends)), nulls)
