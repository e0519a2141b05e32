"""Parts of scripts/convert_reczoo. Only parquet.py knows pyarrow; the rest works on any table of rows."""
