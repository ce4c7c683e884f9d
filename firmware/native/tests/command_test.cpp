#include <gtest/gtest.h>

#include <random>

#include "worlds.hpp"

namespace muster {
namespace {

using nlohmann::json;

constexpr char kStatus[] = "devices/dev/status";
constexpr char kAck[] = "devices/dev/ack";
constexpr char kCommand[] = "devices/dev/command";

struct CommandRow {
  const char* payload;
  const char* answer;
};

TEST(ACommand, IsAnswered) {
  const CommandRow rows[] = {
      {R"({"id":"1","name":"report"})", R"({"id":"1","ok":true})"},
      {R"({"id":"1","name":"report","args":null,"expires":null})", R"({"id":"1","ok":true})"},
      {R"({"id":"1","name":"dance"})", R"({"id":"1","ok":false,"error":"unknown command"})"},
      {R"({"id":"1","name":"a name that is longer than any that is known"})",
       R"({"id":"1","ok":false,"error":"no name"})"},
      {R"({"id":"1"})", R"({"id":"1","ok":false,"error":"no name"})"},
      {R"({"id":"1","name":"report","args":[1]})", R"({"id":"1","ok":false,"error":"args is no object"})"},
      {R"({"id":"1","name":"sleep"})", R"({"id":"1","ok":false,"error":"seconds: 1 to 31536000"})"},
      {R"({"id":"1","name":"sleep","args":{"seconds":0}})",
       R"({"id":"1","ok":false,"error":"seconds: 1 to 31536000"})"},
      {R"({"id":"1","name":"report","expires":1700006409999})", R"({"id":"1","ok":false,"error":"expired"})"},
      {R"({"id":"1","name":"report","expires":1700006409})", R"({"id":"1","ok":false,"error":"expired"})"},
      {R"({"id":"1","name":"report","expires":1700006410000})", R"({"id":"1","ok":true})"},
      {R"({"id":"1","name":"report","expires":"soon"})", R"({"id":"1","ok":false,"error":"expires is no time"})"},
      {R"({"id":"1","name":"report","expires":-5})", R"({"id":"1","ok":false,"error":"expires is no time"})"},
      {R"({"id":"\u0061","name":"re\u0070ort"})", R"({"id":"a","ok":true})"},
      // Nobody can be told.
      {R"({"name":"report"})", nullptr},
      {R"({"id":7,"name":"report"})", nullptr},
      {R"({"id":"","name":"report"})", nullptr},
      {R"({"id":"a b","name":"report"})", nullptr},
      {R"({"id":"\u00e4","name":"report"})", nullptr},
      {R"({"id":"12345678901234567890123456789012345678901234567890123456789012345","name":"report"})", nullptr},
      {"report", nullptr},
      {"", nullptr},
  };
  for (const CommandRow& row : rows) {
    World world(scriptOf("dht22"));
    world.runUntil(10000);
    world.deliver(kCommand, row.payload);
    world.runUntil(10500);
    const auto answers = payloadsOf(world, kAck);
    ASSERT_EQ(answers.size(), row.answer == nullptr ? 0u : 1u) << row.payload;
    if (row.answer != nullptr) {
      EXPECT_EQ(answers[0], json::parse(row.answer)) << row.payload;
    }
  }
}

TEST(ACommand, ThatComesTwiceIsDoneOnceAndAnsweredTwice) {
  World world(scriptOf("light"));
  world.runUntil(10000);
  world.deliver(kCommand, command("1", "light", R"(,"args":{"set":"ON"})"));
  world.runUntil(11000);
  world.deliver("home/hall/light/command", "OFF");
  world.runUntil(12000);
  world.deliver(kCommand, command("1", "light", R"(,"args":{"set":"ON"})"));
  world.runUntil(13000);
  EXPECT_EQ(linesWith(world, "duty 2 100").size(), 1u);
  EXPECT_EQ(payloadsOf(world, kAck).size(), 2u);
}

TEST(ACommand, IsRememberedUntilSixteenOthersHaveCome) {
  World world(scriptOf("light"));
  world.runUntil(10000);
  const auto say = [&world](int id) {
    world.deliver(kCommand, command(std::to_string(id), "light", R"(,"args":{"set":"ON"})"));
    world.runUntil(world.nowMs() + 100);
  };
  for (int id = 0; id < 16; ++id) say(id);
  say(0);
  EXPECT_EQ(linesWith(world, "duty 2 100").size(), 16u);
  say(16);
  say(0);
  EXPECT_EQ(linesWith(world, "duty 2 100").size(), 18u);
}

TEST(ACommand, ThatABrokerKeptIsNotDone) {
  World world(scriptOf("light"));
  world.runUntil(10000);
  world.deliver(kCommand, command("1", "restart"), true);
  world.deliver("home/hall/light/command", "ON", true);
  world.runUntil(20000);
  EXPECT_EQ(payloadsOf(world, kAck).at(0)["error"], "retained");
  EXPECT_TRUE(linesWith(world, "restart").size() == 1u && linesWith(world, "duty 2 100").empty());
}

TEST(ACommand, ThatMayBeOldIsNotDoneWithoutAClock) {
  World live(scriptOf("dht22", {{"clockMs", 0}}));
  live.runUntil(10000);
  live.deliver(kCommand, command("1", "report", R"(,"expires":1700006400000)"));
  live.runUntil(11000);
  EXPECT_EQ(payloadsOf(live, kAck).at(0)["ok"], true) << "a clean session delivers nothing old";
  World kept(scriptOf("dht22", {{"clockMs", 0}, {"settings", {{"session_expiry", 3600}}}}));
  kept.runUntil(10000);
  kept.deliver(kCommand, command("1", "report", R"(,"expires":1700006400000)"));
  kept.runUntil(11000);
  EXPECT_EQ(payloadsOf(kept, kAck).at(0)["error"], "no clock to tell whether it has expired");
}

TEST(ACommand, ThatMayBeOldIsKnownByTheSessionItCameIn) {
  World world(scriptOf("dht22", {{"clockMs", 0}, {"settings", {{"session_expiry", 3600}}}}));
  world.runUntil(10000);
  world.deliver("devices/dev/config", R"({"version":1,"settings":{"session_expiry":0}})", true);
  world.deliver(kCommand, command("1", "report", R"(,"expires":1700006400000)"));
  world.runUntil(11000);
  EXPECT_EQ(payloadsOf(world, kAck).at(0)["ok"], false) << "a setting counts from the next connection";
}

TEST(ACommand, IsAnsweredWholeAlsoWhereItsIdIsAllEscaped) {
  World world(scriptOf("light"));
  world.runUntil(10000);
  std::string id;
  for (size_t character = 0; character < kMaxCommandId; ++character) id += "\\\"";
  world.deliver(kCommand, command(id, "light"));
  world.runUntil(11000);
  EXPECT_EQ(payloadsOf(world, kAck).at(0), json({{"id", std::string(kMaxCommandId, '"')},
                                                 {"ok", false},
                                                 {"error", "set: ON, OFF or a brightness from 0 to 100"}}));
}

TEST(ACommand, RestartsAfterItsAnswerAndAGoodbye) {
  World world(scriptOf("dht22"));
  world.runUntil(10000);
  world.deliver(kCommand, command("1", "restart"));
  world.runUntil(20000);
  EXPECT_LT(timesOf(world, kAck).at(0), timesOf(world, "\"shutdown\"").at(0));
  EXPECT_LT(timesOf(world, "disconnect 0x00").at(0), timesOf(world, " boot").at(1));
  EXPECT_EQ(payloadsOf(world, kStatus).back()["session"], 2);
}

TEST(AnyMessage, LeavesADeviceAliveAndItsAnswersReadable) {
  const std::string seeds[] = {
      R"({"id":"c-1","name":"light","args":{"set":60},"expires":1698765432123})",
      R"({"version":3,"settings":{"heartbeat":300,"keep_alive":60,"debounce_ms":5}})",
      "ON",
  };
  const std::string topics[] = {kCommand, "devices/dev/config", "home/hall/light/command", "devices/dev/commands", ""};
  std::mt19937 random(11);
  World world(scriptOf("light", {{"endMs", 1u << 30}}));
  world.runUntil(1000);
  for (int round = 0; round < 20000; ++round) {
    std::string payload = seeds[random() % 3];
    for (unsigned damage = random() % 5; damage > 0 && !payload.empty(); --damage) {
      const size_t at = random() % payload.size();
      if (random() % 3 == 0) {
        payload.erase(at, random() % 6);
      } else {
        payload[at] = static_cast<char>(random());
      }
    }
    world.deliver(topics[random() % 5], payload, random() % 20 == 0);
    if (round % 5 == 0) world.runUntil(world.nowMs() + 100);
  }
  world.runUntil(world.nowMs() + 1000);
  ASSERT_EQ(world.device()->phase(), Phase::online);
  EXPECT_GT(payloadsOf(world, kAck).size(), 100u);
  EXPECT_GT(payloadsOf(world, "devices/dev/info").size(), 100u);
}

}  // namespace
}  // namespace muster
