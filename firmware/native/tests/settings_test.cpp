#include "../../core/settings.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace muster {
namespace {

std::string str(Text text) { return {text.data, text.size}; }
Text text(const std::string& string) { return {string.data(), string.size()}; }

TEST(Settings, HaveTheDefaultsOfTheContract) {
  const Settings settings;
  EXPECT_EQ(settings.get(Setting::sampleSeconds), 5u);
  EXPECT_EQ(settings.get(Setting::heartbeatSeconds), 300u);
  EXPECT_EQ(settings.get(Setting::temperatureBandTenths), 5u);
  EXPECT_EQ(settings.get(Setting::telemetryQos), 1u);
  EXPECT_EQ(settings.get(Setting::batteryQos), 2u);
  EXPECT_EQ(settings.get(Setting::keepAliveSeconds), 60u);
  EXPECT_EQ(settings.get(Setting::lightOffSeconds), 30u);
  EXPECT_EQ(settings.get(Setting::outboxDrop), kDropOldest);
  EXPECT_EQ(settings.version(), 0u);
}

struct Row {
  const char* config;
  const char* setting;
  const char* error;
};

TEST(Settings, AreAppliedWholeOrNotAtAll) {
  const Row rows[] = {
      {R"({"version":2,"settings":{"heartbeat":60,"keep_alive":29}})", "keep_alive", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"keep_alive":65536}})", "keep_alive", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"telemetry_qos":3}})", "telemetry_qos", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"state_qos":0}})", "state_qos", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"sample":1}})", "sample", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"sample":-5}})", "sample", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"temp_band":0}})", "temp_band", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"sample":1e30}})", "sample", "not of its type"},
      {R"({"version":2,"settings":{"heartbeat":60,"sample":"5"}})", "sample", "not of its type"},
      {R"({"version":2,"settings":{"heartbeat":60,"sample":null}})", "sample", "not of its type"},
      {R"({"version":2,"settings":{"heartbeat":60,"outbox_drop":"some"}})", "outbox_drop", "out of its limits"},
      {R"({"version":2,"settings":{"heartbeat":60,"outbox_drop":1}})", "outbox_drop", "not of its type"},
      {R"({"version":2})", "", "no settings"},
      {R"({"version":2,"settings":[]})", "", "no settings"},
      {R"({"settings":{"heartbeat":60}})", "", "no version"},
      {R"({"version":0,"settings":{"heartbeat":60}})", "", "no version"},
      {R"({"version":-1,"settings":{"heartbeat":60}})", "", "no version"},
      {R"({"version":"2","settings":{"heartbeat":60}})", "", "no version"},
      {R"({"version":4294967296,"settings":{"heartbeat":60}})", "", "no version"},
      {R"([])", "", "not a JSON object of at most 2048 bytes"},
      {R"({"version":2,"settings":{"heartbeat":60})", "", "not a JSON object of at most 2048 bytes"},
  };
  for (const Row& row : rows) {
    Settings settings;
    const ConfigResult result = settings.apply(text(row.config), Settings());
    EXPECT_FALSE(result.isApplied) << row.config;
    EXPECT_EQ(str(result.setting), row.setting) << row.config;
    EXPECT_EQ(str(result.error), row.error) << row.config;
    EXPECT_EQ(settings.get(Setting::heartbeatSeconds), 300u) << row.config;
    EXPECT_EQ(settings.version(), 0u) << row.config;
  }
}

TEST(Settings, OfANewerVersionReplaceAllThatWasSetBefore) {
  Settings defaults;
  ASSERT_TRUE(defaults.setDefaults(text(R"({"sample":10})")).isApplied);
  Settings settings = defaults;
  EXPECT_TRUE(
      settings.apply(text(R"({"version":3,"settings":{"heartbeat":60,"temp_band":0.25}})"), defaults).isApplied);
  EXPECT_EQ(settings.get(Setting::heartbeatSeconds), 60u);
  EXPECT_EQ(settings.get(Setting::temperatureBandTenths), 3u);
  EXPECT_EQ(settings.get(Setting::sampleSeconds), 10u);
  const ConfigResult next = settings.apply(text(R"({"version":4,"settings":{"colour":"red","size":1}})"), defaults);
  EXPECT_TRUE(next.isApplied);
  EXPECT_EQ(next.unknown, 2);
  EXPECT_EQ(settings.get(Setting::heartbeatSeconds), 300u);
  EXPECT_EQ(settings.version(), 4u);
}

TEST(Settings, OfAnEqualOrOlderVersionChangeNothing) {
  Settings settings;
  ASSERT_TRUE(settings.apply(text(R"({"version":3,"settings":{"heartbeat":60}})"), Settings()).isApplied);
  const ConfigResult same = settings.apply(text(R"({"version":3,"settings":{"heartbeat":90}})"), Settings());
  EXPECT_FALSE(same.isApplied);
  EXPECT_TRUE(same.error.isEmpty());
  const ConfigResult older = settings.apply(text(R"({"version":2,"settings":{}})"), Settings());
  EXPECT_EQ(str(older.error), "older than what is applied");
  EXPECT_EQ(settings.get(Setting::heartbeatSeconds), 60u);
}

TEST(Settings, AreRestoredFromFlashUnlessItIsDamaged) {
  Settings settings;
  ASSERT_TRUE(settings.apply(text(R"({"version":3,"settings":{"heartbeat":60}})"), Settings()).isApplied);
  Settings::Stored stored = settings.stored();
  Settings restored;
  EXPECT_TRUE(restored.restore(&stored, sizeof stored));
  EXPECT_EQ(restored.version(), 3u);
  EXPECT_EQ(restored.get(Setting::heartbeatSeconds), 60u);
  EXPECT_FALSE(restored.restore(&stored, sizeof stored - 1));
  stored.values[static_cast<size_t>(Setting::keepAliveSeconds)] = 3;
  Settings untouched;
  EXPECT_FALSE(untouched.restore(&stored, sizeof stored));
  EXPECT_EQ(untouched.version(), 0u);
}

}  // namespace
}  // namespace muster
