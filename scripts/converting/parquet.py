"""Parquet files as tables, batch by batch within row groups. The only part that needs pyarrow."""
from .errors import DATA, NO_PYARROW, ConversionError
from .tables import BATCH_ROWS

INSTALL = """needs the Python package pyarrow, which Debian 12 does not have; for example
  python3 -m venv --system-site-packages build/pyarrow
  build/pyarrow/bin/pip install pyarrow
  build/pyarrow/bin/python scripts/convert_reczoo ..."""


def require_pyarrow():
    try:
        import pyarrow.parquet  # noqa: F401  pylint: disable=unused-import
    except ImportError as error:
        raise ConversionError(NO_PYARROW, f"{INSTALL}\n({error})") from error


class ParquetTable:
    def __init__(self, path):
        import pyarrow
        import pyarrow.parquet
        self.name = str(path)
        self._failures = (pyarrow.ArrowException, OSError)
        if not path.is_file():
            raise ConversionError(DATA, f"{path}: {'is no regular file' if path.exists() else 'no such file'}; expected "
                                        "item_info, user_info, train, valid and test, each .parquet, in one folder")
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except self._failures as error:
            raise self._damaged(error) from error
        self.columns = self._file.schema_arrow.names
        self.rows = self._file.metadata.num_rows

    def _damaged(self, error):
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ConversionError(DATA, f"{self.name}: is no readable parquet file ({reason})")

    def batches(self, columns, batch_rows=BATCH_ROWS):
        try:
            for batch in self._file.iter_batches(batch_size=batch_rows, columns=columns):
                # columns come in the file's order, not in the asked one
                yield [batch.column(batch.schema.get_field_index(column)).to_pylist() for column in columns]
        except self._failures as error:
            raise self._damaged(error) from error
