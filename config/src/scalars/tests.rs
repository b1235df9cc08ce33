//! Does every scalar read what it writes, and refuse the rest?
