#include "light.hpp"

namespace muster {

void Light::begin(Device& device) {
  device.board().writeDuty(kPin, 0);
  device.stateChanged(0);
}

uint32_t Light::tick(Device&) { return kNever; }

void Light::writeState(const Device& device, uint8_t, State& state) const {
  writeRoomTopic(state.topic, device.room(), "light/state");
  if (shown_.isOn && shown_.hasBrightness) {
    state.payload.number(shown_.brightness);
  } else {
    state.payload.text(shown_.isOn ? Text{"ON"} : Text{"OFF"});
  }
  state.options = {static_cast<uint8_t>(device.settings().get(Setting::stateQos)), true, 0};
}

bool Light::writeCommandTopic(const Device& device, Writer& out) const {
  writeRoomTopic(out, device.room(), "light/command");
  return true;
}

bool Light::obey(Device& device, Text text) {
  LightCommand command;
  if (!readLightCommand(text, command)) return false;
  shown_ = command;
  const uint8_t on = command.hasBrightness ? command.brightness : 100;
  device.board().writeDuty(kPin, command.isOn ? on : 0);
  device.stateChanged(0);
  return true;
}

void Light::onTopicCommand(Device& device, Text payload) {
  // A lamp has nobody to complain to on this topic: it stays as it is.
  if (!obey(device, payload)) device.board().log("not a light command: expected ON, OFF or a brightness from 0 to 100");
}

Text Light::onCommand(Device& device, Text name, const JsonObject& args) {
  if (name != "light") return "unknown command";
  JsonField field;
  Buffer<8> text;
  const bool isRead = args.find("set", field) && (field.kind == JsonKind::number || field.readString(text));
  if (isRead && field.kind == JsonKind::number) text.text(field.raw);
  return isRead && obey(device, text.written()) ? Text{} : "set: ON, OFF or a brightness from 0 to 100";
}

}  // namespace muster
