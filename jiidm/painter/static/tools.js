// The tools. A stroke has a begin, moves and an end; what it changes becomes one step of the history.

export const TOOLS = ["brush", "line", "rectangle", "bucket", "eraser", "pick", "hand"];
export const TOOL_KEYS = {brush: "b", line: "l", rectangle: "r", bucket: "g", eraser: "e", pick: "i", hand: "h"};
export const WITH_SIZE = new Set(["brush", "line", "eraser"]);

// `board` is what a stroke works on: {mask, tool, size, square, chosen, background}, and `board.changed()` after each
// change of the mask, `board.picked(id)`, `board.finished(before)`.
export class Stroke {
  constructor(board, point, tool = board.tool) {
    this.board = board;
    this.tool = tool;
    this.start = this.last = point;
    this.before = board.mask.copy();
    this.draw(point);
  }

  move(point) {
    if (point.x === this.last.x && point.y === this.last.y) return;
    this.draw(point);
    this.last = point;
  }

  draw(point) {
    const {board} = this, {mask, size, square, chosen, background} = board;
    switch (this.tool) {
      case "brush": mask.line(this.last, point, size, square, chosen); break;
      case "eraser": mask.line(this.last, point, size, square, background); break;
      case "line": this.restore(); mask.line(this.start, point, size, square, chosen); break;
      case "rectangle": this.restore(); mask.rectangle(this.start, point, chosen); break;
      case "bucket": if (point === this.start && mask.contains(point.x, point.y)) mask.bucket(point.x, point.y, chosen); break;
      case "pick": if (mask.contains(point.x, point.y)) board.picked(mask.at(point.x, point.y)); return;
    }
    board.changed();
  }

  end() {
    this.board.finished(this.before);
  }

  // Takes back what the stroke has drawn.
  abandon() {
    this.restore();
    this.board.changed();
  }

  restore() {
    this.board.mask.ids.set(this.before.ids);
  }
}
