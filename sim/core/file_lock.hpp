// Who is alive: an exclusive lock on an open file, which the kernel takes back when its owner ends,
// however it ends. Open-file-description locks of Linux: closing another descriptor keeps them.
#pragma once

#include <string>

namespace ckvsim {

/// False when another open file holds a lock. Held until the descriptor is closed; children that
/// inherit it hold it, too.
bool lock_file(int descriptor);

/// Whether anybody holds a lock on the file. False for a file that is not there.
bool is_locked(std::string const& path);

}  // namespace ckvsim
