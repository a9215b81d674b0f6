//! What a person sees and writes: configuration files, exit statuses, output, progress.
