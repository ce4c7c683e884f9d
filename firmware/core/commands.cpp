#include "commands.hpp"

namespace muster {

namespace {

/** Smaller values are seconds since 1970: 1e11 ms is March 1973 (contract: Time). */
constexpr int64_t kSecondsBelow = 100000000000;

bool isId(Text text) {
  for (size_t at = 0; at < text.size; ++at) {
    if (text.data[at] < '!' || text.data[at] > '~') return false;
  }
  return !text.isEmpty();
}

}  // namespace

bool readCommand(Text payload, Command& command) {
  const JsonObject members(payload);
  JsonField field;
  if (!members.find("id", field) || !field.readString(command.id) || !isId(command.id.written())) return false;
  if (!members.find("name", field) || !field.readString(command.name) || command.name.written().isEmpty()) {
    command.fault = "no name";
    return true;
  }
  if (members.find("args", field)) {
    if (field.kind == JsonKind::object) {
      command.args = field.raw;
    } else if (field.kind != JsonKind::null) {
      command.fault = "args is no object";
    }
  }
  if (members.find("expires", field) && field.kind != JsonKind::null) {
    int64_t expires = 0;
    if (!field.readNumber(0, expires) || expires < 1) {
      command.fault = "expires is no time";
      return true;
    }
    command.expiresMs = static_cast<uint64_t>(expires < kSecondsBelow ? expires * 1000 : expires);
  }
  return true;
}

bool RecentCommands::find(Text id, Text& error) const {
  const uint64_t hash = hashOf(id);
  for (const Entry& entry : entries_) {
    if (entry.hash != hash) continue;
    error = entry.error;
    return true;
  }
  return false;
}

void RecentCommands::remember(Text id, Text error) {
  entries_[next_] = {hashOf(id), error};
  next_ = static_cast<uint8_t>((next_ + 1) % kKept);
}

}  // namespace muster
