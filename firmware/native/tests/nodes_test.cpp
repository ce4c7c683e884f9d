#include <gtest/gtest.h>

#include "../../nodes/dht22.hpp"
#include "worlds.hpp"

namespace muster {
namespace {

using nlohmann::json;

json pin(uint64_t atMs, bool isHigh) { return {{"atMs", atMs}, {"do", "pin"}, {"pin", 13}, {"high", isHigh}}; }

json climate(uint64_t fromMs, int temperature, int humidity) {
  return {{"fromMs", fromMs},
          {"riseMs", 50},
          {"periodMs", 100},
          {"temp", {temperature, temperature}},
          {"hum", {humidity, humidity}}};
}

TEST(ASensor, IsSampledEveryFiveSecondsAndTellsEveryFiveMinutes) {
  World world(scriptOf("dht22"));
  world.runUntil(1000000);
  EXPECT_EQ(timesOf(world, "telemetry"), (std::vector<uint64_t>{2000, 302000, 602000, 902000}));
}

TEST(ASensor, TellsAChangeOfHalfADegreeAtOnceAndALesserOneNot) {
  World world(scriptOf("dht22", {{"climate",
                                  {climate(0, 215, 450), climate(60000, 219, 450), climate(120000, 220, 450),
                                   climate(180000, 216, 450), climate(240000, 215, 450)}}}));
  world.runUntil(300000);
  EXPECT_EQ(timesOf(world, "telemetry"), (std::vector<uint64_t>{2000, 122000, 242000}));
  EXPECT_EQ(payloadsOf(world, "devices/dev/telemetry").at(1)["temp"], 22.0);
}

TEST(ASensor, ThatFailsOrReadsWhatCannotBeIsCountedAndNotTold) {
  const struct {
    int temperature;
    int humidity;
    bool isPossible;
  } rows[] = {{-400, 0, true},   {800, 1000, true}, {-401, 500, false},
              {801, 500, false}, {200, -1, false},  {200, 1001, false}};
  for (const auto& row : rows) {
    World world(scriptOf("dht22", {{"climate", {climate(0, row.temperature, row.humidity)}}}));
    world.runUntil(10000);
    EXPECT_EQ(linesWith(world, "telemetry").size(), row.isPossible ? 1u : 0u) << row.temperature << " " << row.humidity;
    EXPECT_EQ(static_cast<Dht22*>(world.node())->failedReads(), row.isPossible ? 0u : 2u);
  }
  World mended(scriptOf("dht22", {{"climate", {{{"fromMs", 0}, {"fails", true}}, climate(20000, 215, 450)}}}));
  mended.runUntil(700000);
  const auto readings = payloadsOf(mended, "devices/dev/telemetry");
  EXPECT_EQ(readings.at(0)["failed_reads"], 4);
  EXPECT_FALSE(readings.at(1).contains("failed_reads")) << "told when it has changed";
}

TEST(ABattery, IsToldAtItsOwnQosWhenItChangesOrEverySixHours) {
  World world(scriptOf("dht22", {{"endMs", 50000000},
                                 {"batteryMillivolts", 3912},
                                 {"steps",
                                  {{{"atMs", 1000000}, {"do", "battery"}, {"millivolts", 3863}},
                                   {{"atMs", 2000000}, {"do", "battery"}, {"millivolts", 3862}}}}}));
  world.run();
  const auto lines = linesWith(world, "vbat");
  EXPECT_EQ(timesOf(world, "\"vbat\":"), (std::vector<uint64_t>{2000, 2002000, 23602000, 45202000}));
  EXPECT_NE(lines.at(1).find("qos=2"), std::string::npos);
  EXPECT_NE(lines.at(1).find("\"vbat\":3.91"), std::string::npos);
  EXPECT_EQ(linesWith(world, "\"vbat\":3.86").size(), 3u);
}

TEST(AReport, ThatIsAskedForComesWithTheNextSample) {
  World world(scriptOf("dht22"));
  world.runUntil(9000);
  world.deliver("devices/dev/command", command("1", "report"));
  world.runUntil(100000);
  EXPECT_EQ(timesOf(world, "telemetry"), (std::vector<uint64_t>{2000, 12000}));
}

TEST(Motion, IsToldRetainedWhenItHasLasted) {
  World world(scriptOf("motion", {{"steps",
                                   {pin(10000, true), pin(10040, false), pin(20000, true), pin(20030, false),
                                    pin(20060, true), pin(25000, false)}}}));
  world.runUntil(100000);
  EXPECT_EQ(linesWith(world, "publish home/hall/motion"),
            (std::vector<std::string>{"publish home/hall/motion qos=1 retained false",
                                      "publish home/hall/motion qos=1 retained true",
                                      "publish home/hall/motion qos=1 retained false"}));
  EXPECT_EQ(timesOf(world, "publish home/hall/motion"), (std::vector<uint64_t>{20, 20110, 25050}));
}

TEST(Motion, OfAnOutageIsToldAsItIsNowAndNotAsItWas) {
  World world(scriptOf("motion", {{"steps",
                                   {{{"atMs", 9000}, {"do", "network"}, {"to", "down"}},
                                    pin(10000, true),
                                    pin(20000, false),
                                    pin(30000, true),
                                    {{"atMs", 40000}, {"do", "network"}, {"to", "up"}}}}}));
  world.runUntil(200000);
  EXPECT_EQ(linesWith(world, "publish home/hall/motion").size(), 2u);
  EXPECT_NE(linesWith(world, "publish home/hall/motion").at(1).find("true"), std::string::npos);
}

TEST(Motion, ThatChangesWhileOneIsUnderWayEndsWithTheLast) {
  World world(
      scriptOf("motion", {{"settings", {{"debounce_ms", 0}}},
                          {"steps", {pin(10000, true), pin(10005, false), pin(10010, true), pin(10015, false)}}}));
  world.runUntil(20000);
  const auto lines = linesWith(world, "publish home/hall/motion");
  EXPECT_EQ(lines.size(), 3u);
  EXPECT_NE(lines.back().find("false"), std::string::npos);
}

TEST(ALamp, GoesOffThirtySecondsAfterTheLastMotionOnce) {
  for (const uint32_t start : {0u, 4294967295u - 60000u, 4294967295u - 30000u}) {
    World world(scriptOf("motion_light",
                         {{"millisAtBoot", start},
                          {"endMs", 36000000},
                          {"steps", {pin(10000, true), pin(15000, false), pin(40000, true), pin(41000, false)}}}));
    world.run();
    EXPECT_EQ(timesOf(world, "expiry=5 ON"), (std::vector<uint64_t>{10050, 40050}));
    EXPECT_EQ(timesOf(world, "expiry=5 OFF"), (std::vector<uint64_t>{71050}))
        << "S1: once in ten hours, not every 200 ms";
  }
}

TEST(ALamp, StaysOnWhileMotionLasts) {
  World world(scriptOf("motion_light", {{"steps", {pin(10000, true), pin(500000, false)}}}));
  world.run();
  EXPECT_EQ(timesOf(world, "expiry=5 OFF"), (std::vector<uint64_t>{530050}));
}

TEST(ALamp, IsToldNothingBeforeTheFirstMotion) {
  World world(scriptOf("motion_light"));
  world.run();
  EXPECT_TRUE(linesWith(world, "light/command qos").empty());
}

TEST(ALamp, ThatShouldHaveGoneOffDuringAnOutageDoesAfterIt) {
  for (const char* outage : {"down", "silent"}) {
    World world(scriptOf("motion_light", {{"steps",
                                           {pin(10000, true),
                                            pin(15000, false),
                                            {{"atMs", 20000}, {"do", "network"}, {"to", outage}},
                                            {{"atMs", 300000}, {"do", "network"}, {"to", "up"}}}}}));
    world.run();
    const auto times = timesOf(world, "expiry=5 OFF");
    ASSERT_FALSE(times.empty()) << outage;
    EXPECT_GT(times.back(), 300000u) << outage;
    EXPECT_EQ(linesWith(world, "expiry=5 ON").size(), 1u) << "an ON of a motion that is over is not told late";
  }
}

TEST(ALamp, HasTheDelayThatItIsGiven) {
  World world(
      scriptOf("motion_light", {{"settings", {{"light_off", 5}}}, {"steps", {pin(10000, true), pin(15000, false)}}}));
  world.run();
  EXPECT_EQ(timesOf(world, "expiry=5 OFF"), (std::vector<uint64_t>{20050}));
}

TEST(ALight, ObeysItsTopicAndKeepsItsState) {
  World world(scriptOf("light"));
  world.runUntil(1000);
  for (const char* payload : {"ON", "40", "0", "on", "5.5", "101", "\xff"}) {
    world.deliver("home/hall/light/command", payload);
    world.runUntil(world.nowMs() + 1000);
  }
  EXPECT_EQ(linesWith(world, "duty"),
            (std::vector<std::string>{"duty 2 0", "duty 2 100", "duty 2 40", "duty 2 0", "duty 2 100"}));
  std::vector<std::string> states;
  for (const std::string& line : linesWith(world, "publish home/hall/light/state qos=1 retained ")) {
    states.push_back(line.substr(line.rfind(' ') + 1));
  }
  EXPECT_EQ(states, (std::vector<std::string>{"OFF", "ON", "40", "OFF", "ON"}));
}

}  // namespace
}  // namespace muster
