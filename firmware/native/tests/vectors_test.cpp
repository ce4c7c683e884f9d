// The vectors that libs/contract prints: both sides of the contract run all of them.

#include <gtest/gtest.h>

#include <fstream>

#include "../world.hpp"

namespace muster {
namespace {

using nlohmann::json;

const json& vectors() {
  static const json all = json::parse(std::ifstream(MUSTER_VECTORS));
  return all;
}

std::string str(Text text) { return {text.data, text.size}; }
Text text(const std::string& string) { return {string.data(), string.size()}; }
Text textOf(const json& value) { return text(value.get_ref<const std::string&>()); }

Moment momentOf(const json& moment) {
  const bool isByClock = moment.contains("clockMs");
  return {isByClock, moment.at(isByClock ? "clockMs" : "uptimeMs").get<uint64_t>()};
}

TEST(Vectors, AreAllHere) {
  for (const char* name : {"ids", "topics", "roomTopics", "births", "wills", "goodbyes", "telemetries", "acks",
                           "lights", "times", "sessions"}) {
    EXPECT_GE(vectors().at(name).size(), 3u) << name;
  }
  EXPECT_EQ(vectors().size(), 11u) << "a kind of vector that no test here plays";
}

TEST(Vectors, OfIds) {
  for (const json& row : vectors()["ids"]) EXPECT_EQ(isDeviceId(textOf(row["text"])), row["valid"].get<bool>()) << row;
}

TEST(Vectors, OfTopics) {
  const std::map<std::string, Channel> channels{{"status", Channel::status},   {"info", Channel::info},
                                                {"config", Channel::config},   {"telemetry", Channel::telemetry},
                                                {"command", Channel::command}, {"ack", Channel::ack}};
  for (const json& row : vectors()["topics"]) {
    Buffer<kMaxTopicBytes> out;
    writeTopic(out, textOf(row["device"]), channels.at(row["channel"]));
    EXPECT_FALSE(out.isCut());
    EXPECT_EQ(str(out.written()), row["topic"]);
  }
}

TEST(Vectors, OfRoomTopics) {
  for (const json& row : vectors()["roomTopics"]) {
    World world({{"device", {{"id", "x"}, {"node", row["node"]}, {"room", row["room"]}}}, {"endMs", 1000}});
    world.run();
    json retained = json::array();
    json sent = json::array();
    for (uint8_t index = 0; index < world.node()->stateCount(); ++index) {
      State state;
      world.node()->writeState(*world.device(), index, state);
      (state.options.isRetained ? retained : sent).push_back(str(state.topic.written()));
    }
    Buffer<kMaxTopicBytes> told;
    const bool isTold = world.node()->writeCommandTopic(*world.device(), told);
    EXPECT_EQ(retained, row["retained"]);
    EXPECT_EQ(sent, row["sent"]);
    EXPECT_EQ(isTold ? json::array({str(told.written())}) : json::array(), row["told"]);
  }
}

TEST(Vectors, OfBirths) {
  for (const json& row : vectors()["births"]) {
    PreviousSession previous;
    if (row.contains("prev")) {
      previous = {row["prev"]["session"], row["prev"]["seq"], row["prev"]["dropped"]};
    }
    Buffer<192> out;
    writeBirth(out, row["session"], momentOf(row["moment"]), row.contains("prev") ? &previous : nullptr);
    EXPECT_FALSE(out.isCut());
    EXPECT_EQ(str(out.written()), row["payload"]);
  }
}

TEST(Vectors, OfWills) {
  for (const json& row : vectors()["wills"]) {
    Buffer<kWillLimitBytes> out;
    writeWill(out, row["session"]);
    EXPECT_FALSE(out.isCut());
    EXPECT_EQ(str(out.written()), row["payload"]);
    EXPECT_EQ(out.written().size, row["bytes"].get<size_t>());
    EXPECT_LT(out.written().size, kWillLimitBytes);
  }
}

TEST(Vectors, OfGoodbyes) {
  const std::map<std::string, Goodbye> reasons{
      {"shutdown", Goodbye::shutdown}, {"sleep", Goodbye::sleep}, {"update", Goodbye::update}};
  for (const json& row : vectors()["goodbyes"]) {
    Buffer<128> out;
    writeGoodbye(out, row["session"], reasons.at(row["reason"]), row.value("wakeIn", 0u));
    EXPECT_EQ(str(out.written()), row["payload"]);
  }
}

TEST(Vectors, OfTelemetry) {
  for (const json& row : vectors()["telemetries"]) {
    std::vector<Reading> readings;
    for (const json& reading : row["readings"]) {
      readings.push_back({textOf(reading["metric"]), reading["value"], reading["decimals"]});
    }
    Buffer<320> out;
    writeTelemetry(out, readings.data(), readings.size(), momentOf(row["moment"]), row["session"], row["seq"]);
    EXPECT_EQ(str(out.written()), row["payload"]);
  }
}

TEST(Vectors, OfAcks) {
  for (const json& row : vectors()["acks"]) {
    Buffer<kMaxAckBytes> out;
    const std::string error = row.value("error", "");
    writeAck(out, textOf(row["id"]), text(error));
    EXPECT_FALSE(out.isCut());
    EXPECT_EQ(str(out.written()), row["payload"]);
  }
}

TEST(Vectors, OfLights) {
  for (const json& row : vectors()["lights"]) {
    LightCommand command;
    const bool isRead = readLightCommand(textOf(row["text"]), command);
    EXPECT_EQ(isRead, row.contains("on")) << row;
    if (!isRead || !row.contains("on")) continue;
    EXPECT_EQ(command.isOn, row["on"].get<bool>()) << row;
    EXPECT_EQ(command.hasBrightness, row.contains("brightness")) << row;
    EXPECT_EQ(command.brightness, row.value("brightness", 0)) << row;
  }
}

TEST(Vectors, OfTimes) {
  for (const json& row : vectors()["times"]) {
    Timekeeper time;
    for (const json& at : row["at"]) {
      time.update(at["millis"], at["clockMs"]);
      const Moment moment = time.next();
      const Moment expected = momentOf(at["next"]);
      EXPECT_EQ(moment.isByClock, expected.isByClock) << row["name"] << at;
      EXPECT_EQ(moment.milliseconds, expected.milliseconds) << row["name"] << at;
    }
  }
}

/** A publication in the words of the vectors; empty for one that they do not name. */
std::string said(const std::string& line) {
  const size_t start = line.find('{');
  if (line.find(" publish ") == std::string::npos || start == std::string::npos) return "";
  const json body = json::parse(line.substr(start));
  const std::string session = body.contains("session") ? std::to_string(body["session"].get<uint64_t>()) : "";
  if (line.find("/telemetry ") != std::string::npos) return "t " + session + " " + body["seq"].dump();
  if (line.find("/status ") == std::string::npos) return "";
  if (body["status"] == "offline") return "g " + session + " " + body["reason"].get<std::string>();
  if (!body.contains("prev")) return "b " + session;
  const json& prev = body["prev"];
  return "b " + session + " prev " + prev["session"].dump() + " " + prev["seq"].dump() + " " + prev["dropped"].dump();
}

TEST(Vectors, OfSessions) {
  for (const json& row : vectors()["sessions"]) {
    World world(row["script"]);
    world.run();
    json all = json::array();
    for (const std::string& line : world.trace()) {
      if (const std::string words = said(line); !words.empty()) all.push_back(words);
    }
    EXPECT_EQ(all, row["said"]) << row["name"];
  }
}

}  // namespace
}  // namespace muster
