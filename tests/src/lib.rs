//! What the tests share: trees, processes, folders of their own.
