#include "settings.hpp"

#include "contract.hpp"

namespace muster {

namespace {

struct Limits {
  Text name;
  uint8_t decimals;
  uint32_t initial;
  uint32_t least;
  uint32_t most;
};

constexpr uint32_t kDay = 86400;

constexpr Limits kLimits[] = {
    // A DHT22 needs 2 s between two readings (AM2302 product manual, section 7).
    {"sample", 0, 5, 2, 3600},
    {"heartbeat", 0, 300, 5, kDay},
    {"temp_band", 1, 5, 1, 1000},
    {"battery", 0, 21600, 60, kDay * 7},
    {"battery_band", 3, 50, 1, 5000},
    {"telemetry_qos", 0, 1, 0, 2},
    {"battery_qos", 0, 2, 0, 2},
    {"state_qos", 0, 1, 1, 2},
    // Shorter ones make a device look dead at every hiccup, and cost its battery.
    {"keep_alive", 0, 60, 30, 65535},
    {"session_expiry", 0, 0, 0, kDay * 7},
    {"sleep", 0, 0, 0, kLongestSleepSeconds},
    {"outbox_drop", 0, kDropOldest, kDropOldest, kDropNewest},
    {"debounce_ms", 0, 50, 0, 10000},
    {"light_off", 0, 30, 1, kDay},
};
static_assert(sizeof kLimits / sizeof kLimits[0] == static_cast<size_t>(Setting::count), "each setting has its limits");

constexpr uint8_t kCount = static_cast<uint8_t>(Setting::count);
static_assert(kCount <= 32, "each setting has its bit");

constexpr Text kNoObject = "not a JSON object of at most 2048 bytes";
static_assert(kMaxJsonBytes == 2048, "the error says how many");

ConfigResult refused(Text error, Text setting = {}) {
  ConfigResult result;
  result.error = error;
  result.setting = setting;
  return result;
}

bool isWithin(const Limits& limits, int64_t value) { return value >= limits.least && value <= limits.most; }

/** `outbox_drop` is said in words. */
bool readValue(const JsonField& field, uint8_t setting, int64_t& value) {
  if (setting != static_cast<uint8_t>(Setting::outboxDrop)) return field.readNumber(kLimits[setting].decimals, value);
  Buffer<8> word;
  if (!field.readString(word)) return false;
  value = word.written() == "oldest" ? kDropOldest : word.written() == "newest" ? kDropNewest : UINT32_MAX;
  return true;
}

}  // namespace

Settings::Settings() {
  for (uint8_t index = 0; index < kCount; ++index) values_[index] = kLimits[index].initial;
}

ConfigResult Settings::assign(JsonObject members) {
  ConfigResult result;
  for (JsonField field; members.next(field);) {
    uint8_t index = 0;
    while (index < kCount && !field.isNamed(kLimits[index].name)) ++index;
    if (index == kCount) {
      if (result.unknown < UINT8_MAX) ++result.unknown;
      continue;
    }
    int64_t value = 0;
    if (!readValue(field, index, value)) return refused("not of its type", kLimits[index].name);
    if (!isWithin(kLimits[index], value)) return refused("out of its limits", kLimits[index].name);
    values_[index] = static_cast<uint32_t>(value);
    named_ |= 1u << index;
  }
  result.isApplied = true;
  return result;
}

ConfigResult Settings::apply(Text json, const Settings& defaults) {
  const JsonObject config(json);
  JsonField field;
  int64_t version = 0;
  if (!config.isValid()) return refused(kNoObject);
  if (!config.find("version", field) || !field.readNumber(0, version) || version < 1 || version > kMaxConfigVersion) {
    return refused("no version");
  }
  if (version == version_) return {};
  if (version < version_) return refused("older than what is applied");
  if (!config.find("settings", field) || field.kind != JsonKind::object) return refused("no settings");
  Settings next = defaults;
  next.named_ = 0;
  const ConfigResult result = next.assign(JsonObject(field.raw));
  if (!result.isApplied) return result;
  *this = next;
  version_ = static_cast<uint32_t>(version);
  return result;
}

ConfigResult Settings::setDefaults(Text json) {
  const JsonObject members(json);
  if (!members.isValid()) return refused(kNoObject);
  Settings next = *this;
  const ConfigResult result = next.assign(members);
  if (result.isApplied) *this = next;
  return result;
}

Settings::Stored Settings::stored() const {
  Stored stored;
  stored.version = version_;
  stored.named = named_;
  for (uint8_t index = 0; index < kCount; ++index) stored.values[index] = values_[index];
  return stored;
}

bool Settings::restore(const void* data, size_t size) {
  Stored stored;
  if (size != sizeof stored) return false;
  __builtin_memcpy(&stored, data, sizeof stored);
  for (uint8_t index = 0; index < kCount; ++index) {
    if (!isWithin(kLimits[index], stored.values[index])) return false;
  }
  version_ = stored.version;
  named_ = stored.named;
  for (uint8_t index = 0; index < kCount; ++index) {
    if ((named_ >> index & 1u) != 0) values_[index] = stored.values[index];
  }
  return true;
}

}  // namespace muster
